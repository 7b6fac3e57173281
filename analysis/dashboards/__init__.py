"""A study's workspace and report at W&B, as code: what they show follows from the study's records alone."""
