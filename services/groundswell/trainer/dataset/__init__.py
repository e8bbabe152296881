"""Event and item files in, a prepared log out: cleaned, ordered, split, reported."""
