"""Trains what stands on frozen vectors: the fusion of both, and the interest head."""
