"""The profile service: stores events, items and users' profiles, and encodes their texts."""
