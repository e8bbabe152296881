"""Trains what stands on frozen vectors: the fusion of both views, and the interest head."""
