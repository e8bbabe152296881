"""Measures a bundle on events that no training saw."""
