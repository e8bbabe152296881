"""Two session services over one Valkey, at length: no acknowledged event is lost or hidden."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.replicas import Replicas, replicas, write_and_read
from tests.support.valkey import Valkey

_PERIOD = 50


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, bundles: Path, valkey: Valkey
) -> Iterator[Replicas]:
    with replicas(tmp_path_factory.mktemp("replicas"), bundles, valkey) as both:
        yield both


def test_each_of_1000_events_is_in_the_next_vector_of_the_other_replica(
    running: Replicas,
) -> None:
    assert write_and_read(running, "calm", 1_000) == 0


def test_1000_events_while_valkey_is_flushed_and_killed_again_and_again(
    running: Replicas, valkey: Valkey
) -> None:
    def before(number: int) -> None:
        turn, place = divmod(number, _PERIOD)
        if place == 10:
            valkey.run("FLUSHALL")
        elif place == 20:
            valkey.kill()
        elif place == 25 + turn % 20:
            valkey.start()

    assert write_and_read(running, "faults", 1_000, before=before) == 0
