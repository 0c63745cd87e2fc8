"""Learning what a user points at, on anatomy of any kind: the promptable network's tasks and its training."""
