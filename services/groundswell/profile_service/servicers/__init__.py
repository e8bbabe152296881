"""The gRPC servicers: check a request, convert it, call the use case, convert the answer."""
