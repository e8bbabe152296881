"""Windows of users: caches of their newest events, and where they are kept."""
