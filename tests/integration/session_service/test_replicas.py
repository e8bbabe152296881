"""Two session services over one Valkey answer as one, and go on without it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import own_copy
from tests.support.replicas import Replicas, replicas, write_and_read
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, bundles: Path, valkey: Valkey
) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    with replicas(folder, own_copy(bundles, folder / "bundles"), valkey) as both:
        yield both


def test_an_event_that_one_replica_recorded_is_in_the_next_vector_of_the_other(
    running: Replicas,
) -> None:
    assert write_and_read(running, "calm", 100) == 0


def test_no_event_is_lost_or_hidden_while_valkey_is_flushed_killed_and_started_again(
    running: Replicas, valkey: Valkey
) -> None:
    faults = {5: lambda: valkey.run("FLUSHALL"), 15: valkey.kill, 35: valkey.start}

    def before(number: int) -> None:
        if number in faults:
            faults[number]()

    # The log answers all the time, so every answer is made of it and none is flagged.
    assert write_and_read(running, "fault", 60, before=before) == 0
    deadline = time.monotonic() + 10
    while valkey.run("DBSIZE") == 0:  # the windows come back by themselves
        assert time.monotonic() < deadline
        running.clients[0].encode_session("anyone")
