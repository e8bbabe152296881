"""All three services as processes of their own, over one folder of bundles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundswell.client import Deadlines, GroundswellClient, Targets, item
from tests.integration.ranker_service.support import ranker_process
from tests.support.bundles import ITEMS
from tests.support.processes import Process, free_port, service_process


@dataclass
class Suite:
    """The processes and a client of them."""

    bundles: Path
    targets: Targets
    client: GroundswellClient
    profile: Process
    session: Process
    ranker: Process

    def restart(self, process: Process) -> None:
        """Start a process again and wait until it serves."""
        process.start()
        process.wait_serving(self.address(process))

    def address(self, process: Process) -> str:
        """Where a process listens."""
        if process is self.profile:
            return self.targets.profile
        return self.targets.session if process is self.session else self.targets.ranker

    def refresh(self) -> None:
        """Wait until the encoder has covered everything."""
        for _ in self.client.refresh_profiles():
            pass


def sqlite_url(folder: Path) -> str:
    """The database of a suite that is given none."""
    return f"sqlite+aiosqlite:///{folder / 'groundswell.db'}"


@contextmanager
def running_suite(folder: Path, bundles: Path, database_url: str = "") -> Iterator[Suite]:
    """A serving suite whose catalogue is the tiny bundle's items, with their row as price.

    Over SQLite in the folder, unless another database is named.
    """
    profile_port, session_port = free_port(), free_port()
    profile_address = f"127.0.0.1:{profile_port}"
    session_address = f"127.0.0.1:{session_port}"
    profile = service_process(
        "groundswell.profile_service",
        profile_port,
        bundles,
        folder / "profile.log",
        {"GROUNDSWELL_DATABASE_URL": database_url or sqlite_url(folder)},
    )
    session = service_process(
        "groundswell.session_service",
        session_port,
        bundles,
        folder / "session.log",
        {"GROUNDSWELL_PROFILE_ADDRESS": profile_address},
    )
    ranker, ranker_address = ranker_process(
        folder, bundles, profile_address, session_address, GROUNDSWELL_START_WAIT_S="30"
    )
    targets = Targets(profile=profile_address, session=session_address, ranker=ranker_address)
    client = GroundswellClient(targets, deadlines=Deadlines(read_s=10, write_s=10))
    suite = Suite(bundles, targets, client, profile, session, ranker)
    with client, profile, session, ranker:
        profile.wait_serving(profile_address)
        client.upsert_items(
            [
                item(item_id, title, categories=categories, attributes={"price": row})
                for row, (item_id, title, categories) in enumerate(ITEMS)
            ]
        )
        session.wait_serving(session_address)
        ranker.wait_serving(ranker_address)
        suite.refresh()
        yield suite
