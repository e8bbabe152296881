"""Makes the stored profiles of all users again, and encodes the items that lack a vector."""
