"""Splits a list of messages into parts that each fit into one answer."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from groundswell.serving.limits import MAX_ANSWER_BYTES

M = TypeVar("M", bound=Message)

# Room for the other fields of an answer: tokens, revisions, ids.
REST_BYTES = 16 * 1024
# The tag and the length of one message in a list.
FRAME_BYTES = 8


def fitting_runs(
    messages: Iterable[M], max_bytes: int = MAX_ANSWER_BYTES - REST_BYTES
) -> Iterator[list[M]]:
    """Split a list into runs that each fit into an answer, of at least one message."""
    run: list[M] = []
    size = 0
    for message in messages:
        added = message.ByteSize() + FRAME_BYTES
        if run and size + added > max_bytes:
            yield run
            run, size = [], 0
        run.append(message)
        size += added
    if run:
        yield run
