"""The base of every server of the suite: settings, the gRPC server, errors, batching."""
