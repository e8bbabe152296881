"""Limits of the contract that more than one part of the suite has to know."""
