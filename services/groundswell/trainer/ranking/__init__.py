"""Held-out events: which are targets, at which rank they are found, and the metrics of ranks."""
