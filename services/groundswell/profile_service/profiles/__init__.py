"""Reads profiles: what is stored and cached of users, and the models that make vectors of it."""
