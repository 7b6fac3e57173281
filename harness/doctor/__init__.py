"""Whether this host can run an experiment: what it needs, what was found, what follows, and the page that says so."""
