"""The rights of people: what is held of them is counted, exported, erased and forgotten in time."""
