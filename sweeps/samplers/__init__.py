"""Samplers are Optuna's own bases, never wrapped: a yaml with `_target_` is all that a new one needs."""
