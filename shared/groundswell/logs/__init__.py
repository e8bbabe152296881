"""Readers of behaviour logs and catalogues, for the trainer and the command line."""
