"""The identity of the database: its lineage, its secrets, and the detection of a restore."""
