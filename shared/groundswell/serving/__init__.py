"""What every server of the suite is built on: settings, the gRPC server, errors, batching."""
