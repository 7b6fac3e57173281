"""Plans: what a free slot does next. A yaml with `_target_` is all that a new one needs."""
