"""All SQL of the suite: each module holds the statements of one subject."""
