"""The three services on loopback: their ports and settings."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from groundswell.cli.failures import CommandError
from groundswell.cli.suite.door import LocalDoor
from groundswell.cli.suite.launcher import Service
from groundswell.cli.suite.state import State
from groundswell.client import Targets

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """The ports of the services."""

    profile: int = 50051
    session: int = 50052
    ranker: int = 50053

    @property
    def targets(self) -> Targets:
        """The addresses, for a client."""
        return Targets(
            ranker=f"{LOOPBACK}:{self.ranker}",
            session=f"{LOOPBACK}:{self.session}",
            profile=f"{LOOPBACK}:{self.profile}",
        )

    def by_name(self) -> dict[str, int]:
        """The port of each service, by its name."""
        return {"profile": self.profile, "session": self.session, "ranker": self.ranker}


def free_ports() -> Ports:
    """Three ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


def taken_ports(ports: Ports) -> dict[str, int]:
    """The ports that are in use, by service."""
    return {name: port for name, port in ports.by_name().items() if not _is_free(port)}


def check_ports(ports: Ports) -> None:
    """Raise CommandError for a port that is in use, or that is given twice."""
    numbers = ports.by_name()
    if len(set(numbers.values())) < len(numbers):
        raise CommandError("every service needs a port of its own")
    for name, port in taken_ports(ports).items():
        raise CommandError(
            f"port {port} is in use; end what listens there (another `groundswell up`?), "
            f"or choose another --{name}-port"
        )


def check_bundles(bundles: Path) -> str:
    """The id of the folder's current bundle, after a quick check of its files.

    Raises CommandError without one, and BundleError when it cannot be served.
    """
    from groundswell.artifacts.store import BundleStore

    store = BundleStore(bundles)
    current = store.current() if bundles.is_dir() else None
    if current is None:
        raise CommandError(f"{bundles} has no current bundle; `groundswell train` makes one")
    store.check(current)
    return current


def embedded_services(
    bundles: Path,
    state: State,
    ports: Ports,
    *,
    worker_threads: int = 1,
    text_vectors: Path | None = None,
    door: LocalDoor | None = None,
) -> list[Service]:
    """The three services over one folder of bundles and one state, each after those that it calls.

    `text_vectors` is a folder of vectors that training has encoded; the services reuse them. With a
    `door` calls are encrypted, and need a token.
    """
    *replaced, newest = state.secrets()
    addresses = {
        "GROUNDSWELL_PROFILE_ADDRESS": ports.targets.profile,
        "GROUNDSWELL_SESSION_ADDRESS": ports.targets.session,
    }
    common = {
        **addresses,
        "GROUNDSWELL_HOST": LOOPBACK,
        "GROUNDSWELL_SECRET": newest,
        "GROUNDSWELL_PREVIOUS_SECRETS": ",".join(replaced),
        "GROUNDSWELL_BUNDLES": str(bundles.resolve()),
        "GROUNDSWELL_LOG_FORMAT": "console",
        # No load balancer has to notice that one of these processes is draining.
        "GROUNDSWELL_DRAIN_WAIT_S": "0",
        **({} if door is None else door.of_services()),
    }
    own = {
        "profile": {
            "GROUNDSWELL_DATABASE_URL": state.database_url,
            "GROUNDSWELL_WORKER_THREADS": str(worker_threads),
        }
    }
    if text_vectors is not None:
        own["profile"]["GROUNDSWELL_TEXT_VECTORS"] = str(text_vectors.resolve())
    return [
        Service(
            name=name,
            module=f"groundswell.{name}_service",
            port=port,
            variables={"GROUNDSWELL_PORT": str(port), **common, **own.get(name, {})},
        )
        for name, port in ports.by_name().items()
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port with connections that were just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
