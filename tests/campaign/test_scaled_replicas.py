"""Replicas behind the door under load: one is killed, a third one takes its share and ends."""

import asyncio
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundswell.cli.suite.door import LocalDoor
from tests.support.named import HOSTS, KINDS, METRICS_PORT, Load, Named, under_load
from tests.support.postgres import Postgres
from tests.support.suite import tiny_items
from tests.support.valkey import Valkey

WITHIN_S = 30.0
ENOUGH_SHARE = 0.2
"""Of a third; a share is measured over few calls."""
CALLS_BEFORE, CALLS_AFTER = 300, 2_000
MIN_SHARE = 0.999


@pytest.fixture(scope="module")
def named(
    tmp_path_factory: pytest.TempPathFactory, bundles: Path, server: Postgres, valkey: Valkey
) -> Iterator[Named]:
    suite = Named(tmp_path_factory.mktemp("named"), bundles, server.new_database(), valkey.url)
    with ExitStack() as stack:
        stack.callback(suite.stop)
        for kind in KINDS:
            for host in HOSTS[:2]:
                suite.start(kind, host)
            if kind == "profile":
                with suite.client() as client:
                    client.upsert_items(tiny_items())
                    for _ in client.refresh_profiles():
                        pass
        yield suite


def num_calls(door: LocalDoor, kind: str, host: str) -> float:
    """How many calls of its own service a replica has taken."""
    context = ssl.create_default_context(cafile=door.certificates.ca)
    context.load_cert_chain(*door.certificates.client)
    url = f"https://{host}:{METRICS_PORT[kind]}/metrics"
    asked = urllib.request.Request(
        url, headers={"Authorization": f"Bearer {door.token.read_text()}"}
    )
    with urllib.request.urlopen(asked, timeout=10, context=context) as page:
        families = text_string_to_metric_families(page.read().decode())
    return sum(
        one.value
        for family in families
        for one in family.samples
        if one.name == "grpc_server_handled_total" and f".{kind}." in one.labels["grpc_service"]
    )


def failed(load: Load) -> dict[str, int]:
    return {what: num for what, num in load.outcomes.items() if what not in ("ok", "degraded")}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_killed_replica_fails_hardly_a_call_and_loses_no_event(
    named: Named, kind: str
) -> None:
    async with under_load(named, f"killed-{kind}") as load:
        await load.grow(CALLS_BEFORE)
        await asyncio.to_thread(named.kill, kind, HOSTS[0])
        await load.grow(CALLS_AFTER)
    named.start(kind, HOSTS[0])
    num_calls = load.outcomes.total()
    share = 1 - sum(failed(load).values()) / num_calls
    sys.stdout.write(f"\n{kind}: {share:.4%} of {num_calls} calls, {dict(load.outcomes)}\n")
    with named.client() as client:
        for user, event_ids in load.acknowledged.items():
            stored = {listed.event.event_id for listed in client.list_events(user)}
            assert event_ids <= stored, user
    assert share >= MIN_SHARE


@pytest.mark.parametrize("kind", KINDS)
async def test_a_third_replica_takes_its_share_and_its_end_fails_no_call(
    named: Named, kind: str
) -> None:
    async with under_load(named, kind) as load:
        await asyncio.to_thread(named.start, kind, HOSTS[2])
        began_s, share = time.monotonic(), 0.0
        while share < ENOUGH_SHARE:
            assert time.monotonic() - began_s < WITHIN_S, share
            before = [await asyncio.to_thread(num_calls, named.door, kind, host) for host in HOSTS]
            await load.grow(200)
            after = [await asyncio.to_thread(num_calls, named.door, kind, host) for host in HOSTS]
            taken = [b - a for a, b in zip(before, after, strict=True)]
            share = taken[2] / max(sum(taken), 1)
        took_s = time.monotonic() - began_s
        await asyncio.to_thread(named.end, kind, HOSTS[2])
        await load.grow(400)
    sys.stdout.write(f"\n{kind}: {share:.0%} of the calls {took_s:.1f} s after the third one ")
    sys.stdout.write(f"served; {dict(load.outcomes)}\n")
    assert failed(load) == {}
