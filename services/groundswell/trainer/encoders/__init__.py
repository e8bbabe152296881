"""Trains the items and both user encoders in one space."""
