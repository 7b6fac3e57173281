"""Judges samplers, pruners and plans on recorded runs: the study's own loop over a runner that trains nothing."""
