"""The size limits of messages: those of the contracts, and those of gRPC around them."""

MIB = 1024 * 1024

MAX_REQUEST_BYTES = 4 * MIB
"""A request above this is refused with MESSAGE_TOO_LARGE."""
TRANSPORT_REQUEST_BYTES = 2 * MAX_REQUEST_BYTES
"""gRPC itself refuses a request above this, without a reason. It takes more than the contract
does, so that most requests that are too large get a reason."""
MAX_ANSWER_BYTES = 3 * MIB
"""No answer is larger. Every gRPC client takes 4 MiB unless it is told otherwise."""
MAX_RECEIVED_BYTES = 64 * MIB
"""The largest answer that a service takes from another one, which may be of an earlier release
with larger pages."""
