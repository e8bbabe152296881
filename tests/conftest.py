"""Pins the threads of this process before anything starts some: two cores serve all of a test."""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# PostgreSQL is started by a fork, while threads of gRPC call: its handlers of forks can crash then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Speed is measured by the bench, never by a test: a slow machine must not fail one.
settings.register_profile("groundswell", deadline=None)
settings.load_profile("groundswell")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test set up: its standard error is closed at its end, and no log may go there."""
    yield
    structlog.reset_defaults()
