"""Decides which bundles a process serves, and with which text encoders its worker reads."""
