"""The three services as processes on this machine: where they listen, what they store."""
