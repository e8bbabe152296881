"""Counts which items follow which, and tunes how much the counts add to a score."""
