"""What to try: the space, the sampler, the pruner and the loop over trials."""
