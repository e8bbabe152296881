"""The session service: takes events as they happen, and reads the last of them."""
