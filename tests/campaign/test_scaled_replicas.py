"""Replicas found by DNS under load: a third one takes its share, and SIGTERM fails no call."""

import asyncio
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundswell.client import AsyncGroundswellClient, Deadlines, GroundswellClient, Targets
from tests.campaign.test_killed_replicas import CALLERS, KINDS, Load
from tests.support.names import name_server
from tests.support.postgres import Postgres
from tests.support.processes import Process, free_port, service_process
from tests.support.suite import tiny_items
from tests.support.valkey import Valkey

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
WITHIN_S = 30.0
ENOUGH_SHARE = 0.2
"""Of a third; a share is measured over few calls."""
METRICS_PORT = {kind: free_port() for kind in KINDS}


class Named:
    """Up to three processes of every service, each under a name that lists those that serve."""

    def __init__(self, folder: Path, bundles: Path, database_url: str, windows_url: str) -> None:
        self._ports = {kind: free_port() for kind in KINDS}
        self._names = name_server()
        targets = {kind: self._names.target(kind, port) for kind, port in self._ports.items()}
        self.targets = Targets(**targets)
        settings = {
            "GROUNDSWELL_DATABASE_URL": database_url,
            "GROUNDSWELL_ENCODER_BACKEND": "onnx",
            "GROUNDSWELL_WINDOWS_URL": windows_url,
            "GROUNDSWELL_REPLICAS": "2",
            "GROUNDSWELL_WINDOWS_TIMEOUT_S": "2",
            "GROUNDSWELL_PROFILE_ADDRESS": targets["profile"],
            "GROUNDSWELL_SESSION_ADDRESS": targets["session"],
            "GROUNDSWELL_START_WAIT_S": "30",
            "GROUNDSWELL_DRAIN_WAIT_S": "2",
            # As in the manifests for Kubernetes, but shorter.
            "GROUNDSWELL_MAX_CONNECTION_AGE_S": "10",
        }
        self._processes: dict[tuple[str, str], Process] = {
            (kind, host): service_process(
                f"groundswell.{kind}_service",
                self._ports[kind],
                bundles,
                folder / f"{kind}-{host}.log",
                {
                    **settings,
                    "GROUNDSWELL_HOST": host,
                    "GROUNDSWELL_METRICS_PORT": str(METRICS_PORT[kind]),
                },
            )
            for kind in KINDS
            for host in HOSTS
        }

    def start(self, kind: str, host: str) -> None:
        """Start a process, and list it once it serves."""
        process = self._processes[kind, host]
        process.start()
        process.wait_serving(f"{host}:{self._ports[kind]}", timeout=60.0)
        self._names.addresses.setdefault(kind, []).append(host)

    def end(self, kind: str, host: str) -> None:
        """End a process at the moment when its name is dropped, as Kubernetes does."""
        self._names.addresses[kind].remove(host)
        assert self._processes[kind, host].stop() == 0

    def stop(self) -> None:
        """End what runs."""
        for process in self._processes.values():
            if process.is_running:
                process.stop()


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
                with GroundswellClient(suite.targets, deadlines=Deadlines(write_s=30)) as client:
                    client.upsert_items(tiny_items())
                    for _ in client.refresh_profiles():
                        pass
        yield suite


@asynccontextmanager
async def under_load(suite: Named, name: str) -> AsyncIterator[Load]:
    """Callers of all services; inside they call, and some calls have ended before."""
    deadlines = Deadlines(read_s=10, write_s=10)  # a machine that runs tests is slow
    async with AsyncGroundswellClient(suite.targets, deadlines=deadlines) as client:
        load = Load(client, name)
        callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
        await load.grow(200)
        yield load
        load.is_over = True
        await asyncio.gather(*callers)


def num_calls(kind: str, host: str) -> float:
    """How many calls of its own service a replica has taken."""
    url = f"http://{host}:{METRICS_PORT[kind]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
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
async def test_a_third_replica_takes_its_share_and_its_end_fails_no_call(
    named: Named, kind: str
) -> None:
    async with under_load(named, kind) as load:
        await asyncio.to_thread(named.start, kind, HOSTS[2])
        began_s, share = time.monotonic(), 0.0
        while share < ENOUGH_SHARE:
            assert time.monotonic() - began_s < WITHIN_S, share
            before = [await asyncio.to_thread(num_calls, kind, host) for host in HOSTS]
            await load.grow(200)
            after = [await asyncio.to_thread(num_calls, kind, host) for host in HOSTS]
            taken = [b - a for a, b in zip(before, after, strict=True)]
            share = taken[2] / max(sum(taken), 1)
        took_s = time.monotonic() - began_s
        await asyncio.to_thread(named.end, kind, HOSTS[2])
        await load.grow(400)
    sys.stdout.write(f"\n{kind}: {share:.0%} of the calls {took_s:.1f} s after the third one ")
    sys.stdout.write(f"served; {dict(load.outcomes)}\n")
    assert failed(load) == {}
