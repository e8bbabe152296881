"""Replicas that are found by DNS, behind the door, and callers of all of them."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from groundswell.cli.certificates import make_certificates
from groundswell.cli.suite.door import LocalDoor
from groundswell.client import (
    AsyncGroundswellClient,
    Deadlines,
    GroundswellClient,
    GroundswellError,
    Targets,
    event,
)
from groundswell.common.v1.event_pb2 import EVENT_STATUS_REJECTED
from groundswell.serving.token_keys import TokenMaker
from tests.support.bundles import ITEMS
from tests.support.names import name_server
from tests.support.processes import Process, free_port, service_process

KINDS = ("profile", "session", "ranker")
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
METRICS_PORT = {kind: free_port() for kind in KINDS}
CALLERS = 8
USERS = 40
PAUSE_S = 0.01


class Named:
    """Up to three processes of every service, each under a name that lists those that serve.

    All calls go over mutual TLS, with tokens.
    """

    def __init__(self, folder: Path, bundles: Path, database_url: str, windows_url: str) -> None:
        self.door = LocalDoor(folder / "door")
        self.door.make()
        for certificate in self.door.folder.glob("*.pem"):
            certificate.unlink()
        make_certificates(self.door.folder, (*(f"{kind}.test" for kind in KINDS), *HOSTS), days=1)
        maker = TokenMaker(self.door.signing_key, issuer="groundswell", audience="groundswell")
        # The load calls the session and the profile service as a ranker does, too.
        token = maker.make("load", ("backend", "ingest", "operator", "internal"), 86_400)
        self.door.token.write_text(token)
        self._ports = {kind: free_port() for kind in KINDS}
        self._names = name_server()
        targets = {kind: self._names.target(kind, port) for kind, port in self._ports.items()}
        self.targets = Targets(**targets)
        settings = {
            **self.door.of_services(),
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
        process.wait_serving(f"{host}:{self._ports[kind]}", timeout=60.0, tls=self.door.tls)
        listed = self._names.addresses.setdefault(kind, [])
        if host not in listed:
            listed.append(host)

    def kill(self, kind: str, host: str) -> None:
        """Kill a process, which stays listed."""
        self._processes[kind, host].kill()

    def end(self, kind: str, host: str) -> None:
        """End a process at the moment when its name is dropped, as Kubernetes does."""
        self._names.addresses[kind].remove(host)
        assert self._processes[kind, host].stop() == 0

    def client(self) -> GroundswellClient:
        """A client with the door's certificates and token."""
        deadlines = Deadlines(read_s=10, write_s=30)
        return GroundswellClient(
            self.targets, deadlines=deadlines, tls=self.door.tls, token=self.door.token
        )

    def stop(self) -> None:
        """End what runs."""
        for process in self._processes.values():
            if process.is_running:
                process.stop()


class Load:
    """Callers of every service, what became of their calls, and the acknowledged events."""

    def __init__(self, client: AsyncGroundswellClient, name: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.acknowledged: defaultdict[str, set[str]] = defaultdict(set)
        self.is_over = False
        self._client = client
        self._name = name
        self._until = 0
        self._grown = asyncio.Event()

    async def caller(self, number: int) -> None:
        """Call one service after the other until the load is over."""
        choice = random.Random(number)
        for turn in range(1_000_000):
            if self.is_over:
                return
            user = f"user-{choice.randrange(USERS)}"
            try:
                degraded = await self._call(turn % 4, user, f"{self._name}-{number}-{turn}", choice)
                self.outcomes["degraded" if degraded else "ok"] += 1
            except GroundswellError as error:
                self.outcomes[f"{error.status.name} {error.reason}"] += 1
            if self.outcomes.total() >= self._until:
                self._grown.set()
            await asyncio.sleep(PAUSE_S)

    async def grow(self, num_calls: int) -> None:
        """Wait until so many more calls have ended."""
        self._until = self.outcomes.total() + num_calls
        self._grown.clear()
        await self._grown.wait()

    async def _call(self, kind: int, user: str, name: str, choice: random.Random) -> bool:
        """Make a call; return whether its answer was less than a whole one."""
        if kind == 0:
            return bool((await self._client.recommend(user)).degradations)
        if kind == 1:
            sent = event(user, choice.choice(ITEMS)[0], "click", event_id=name)
            (result,) = await self._client.record_events([sent])
            assert result.status != EVENT_STATUS_REJECTED, result
            self.acknowledged[user].add(name)
            return False
        if kind == 2:
            return (await self._client.encode_session(user)).stale
        return (await self._client.get_profile(user)).stale


@asynccontextmanager
async def under_load(suite: Named, name: str) -> AsyncIterator[Load]:
    """Callers of all services; inside they call, and some calls have ended before."""
    deadlines = Deadlines(read_s=10, write_s=10)  # a machine that runs tests is slow
    async with AsyncGroundswellClient(
        suite.targets, deadlines=deadlines, tls=suite.door.tls, token=suite.door.token
    ) as client:
        load = Load(client, name)
        callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
        await load.grow(200)
        yield load
        load.is_over = True
        await asyncio.gather(*callers)
