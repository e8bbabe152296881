"""Knows which database this is: its lineage, its secrets, and whether it was restored."""
