"""Trainings that ran without this harness, whatever keeps them: what they are, how they ended, what there is to learn of them."""
