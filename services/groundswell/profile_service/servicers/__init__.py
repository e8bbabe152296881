"""The gRPC faces of the profile service: check, convert, call, convert."""
