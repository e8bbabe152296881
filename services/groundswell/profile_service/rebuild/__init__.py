"""Makes the profiles of a whole population again, and encodes the items that lack a vector."""
