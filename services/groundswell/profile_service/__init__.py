"""The memory of the suite: events, items and their vectors, user profiles, and their encoder."""
