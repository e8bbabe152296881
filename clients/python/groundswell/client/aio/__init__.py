"""The client for code that runs in an event loop. The sync client is generated from it."""
