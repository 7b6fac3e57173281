"""Where an engine runs: one module a place."""
