"""Pins the threads of this process before anything starts some: two cores serve all of a test."""

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from tests.support.shared import use_run_folder

if TYPE_CHECKING:
    from tests.support.postgres import Postgres
    from tests.support.trained import Trained
    from tests.support.valkey import Valkey

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Of what is imported nothing becomes garbage: each search for it takes time in vain.
gc.disable()

# PostgreSQL is started by a fork, while threads of gRPC call: its handlers of forks can crash then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Speed is measured by the bench, never by a test: a slow machine must not fail one.
settings.register_profile("groundswell", deadline=None)
settings.load_profile("groundswell")


def pytest_collection_finish() -> None:
    """What all modules imported stays: no later search for garbage needs to look through it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test set up: its standard error is closed at its end, and no log may go there.

    A command that runs in the process of its test sets a level, too, which would hide the warnings
    that a later test waits for.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What takes seconds to make lies beside the base folders of all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    use_run_folder((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles whose only one, a tiny one, is current; not to be changed."""
    # It imports torch, which takes seconds: not for tests that need no bundle.
    from tests.support.bundles import tiny_bundle

    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root


@pytest.fixture(scope="session")
def trained() -> "Trained":
    """A bundle that was trained on a small world; not to be changed."""
    from tests.support.trained import trained_bundle

    return trained_bundle()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Postgres]":
    """A running PostgreSQL; each test takes a database of its own from it."""
    from tests.support.postgres import postgres

    with postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Valkey]":
    """A running Valkey."""
    from tests.support.valkey import valkey

    with valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running
