"""The encoder worker: claims stale items and users, encodes their texts, stores the vectors."""
