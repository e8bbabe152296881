"""Limits of the contract that several parts of the suite use."""
