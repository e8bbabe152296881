"""The models in torch: definitions only, each whole in one file. No I/O, no grpc, no SQL."""
