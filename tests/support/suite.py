"""The suite's services as processes of their own, over one folder of bundles."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from groundswell.cli.suite.door import LocalDoor
from groundswell.client import Deadlines, GroundswellClient, GroundswellError, Targets, item
from groundswell.common.v1.item_pb2 import Item
from tests.support.bundles import ITEMS
from tests.support.processes import Process, free_port, service_process
from tests.support.waiting import eventually

Settings = Mapping[str, Mapping[str, str]]
"""Variables of the environment, by the name of the process."""

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens."""

_START_TIMEOUT_S = 60.0
UPSTREAM_TIMEOUT_S = "1.5"
"""More than the default: a machine that runs tests is slow."""


def sqlite_url(folder: Path) -> str:
    """The database of a suite that is given none."""
    return f"sqlite+aiosqlite:///{folder / 'groundswell.db'}"


def tiny_items() -> Iterator[Item]:
    """The items of a tiny bundle, each with its row as price."""
    for row, (item_id, title, categories) in enumerate(ITEMS):
        yield item(item_id, title, categories=categories, attributes={"price": row})


class Suite:
    """Some of "profile", "worker", "session" and "ranker" on ports of their own, and a client.

    Entering the context starts them in the order of `names` and waits until each serves; leaving
    it ends them. They know each other's addresses, and keep their data over SQLite in `folder`
    unless another database is named. With a `door` all calls go through it.
    """

    def __init__(
        self,
        folder: Path,
        bundles: Path,
        names: Sequence[str] = ("profile", "session", "ranker"),
        *,
        database_url: str = "",
        settings: Settings | None = None,
        deadlines: Deadlines | None = None,
        door: LocalDoor | None = None,
    ) -> None:
        self.folder, self.bundles = folder, bundles
        self.database_url = database_url or sqlite_url(folder)
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in names}
        self.targets = Targets(
            **{name: self.addresses.get(name, NOWHERE) for name in ("profile", "session", "ranker")}
        )
        self._door, self._tls = door, None if door is None else door.tls
        self.client = GroundswellClient(
            self.targets,
            deadlines=deadlines or Deadlines(read_s=10, write_s=10),
            tls=self._tls,
            token=None if door is None else door.token,
        )
        self.processes = {
            name: self._process(name, {**self._known(name), **(settings or {}).get(name, {})})
            for name in names
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.client)
            for name, process in self.processes.items():
                stack.enter_context(process)
                process.wait_serving(self.addresses[name], timeout=_START_TIMEOUT_S, tls=self._tls)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def profile(self) -> Process:
        """The profile service."""
        return self.processes["profile"]

    @property
    def session(self) -> Process:
        """The session service."""
        return self.processes["session"]

    @property
    def ranker(self) -> Process:
        """The ranker."""
        return self.processes["ranker"]

    def start(self, name: str) -> None:
        """Start a process, or start it again, and wait until it serves."""
        self.processes[name].start()
        self.processes[name].wait_serving(self.addresses[name], tls=self._tls)

    def fill(self) -> None:
        """Write the items of the tiny bundle, and wait until they are encoded, and ranked."""
        self.client.upsert_items(tiny_items())
        self.refresh()
        if "ranker" in self.processes:
            eventually(self._ranks_all_items)

    def _ranks_all_items(self) -> bool:
        """Tell whether the ranker has the items; it leaves no trace, as a list would."""
        try:
            near = self.client.similar_items(ITEMS[0][0], page_size=len(ITEMS))
        except GroundswellError:
            return False  # the ranker does not know the item yet
        return len(near.items) == len(ITEMS) - 1

    def refresh(self) -> None:
        """Wait until the encoder has covered everything."""
        for _ in self.client.refresh_profiles():
            pass

    def _process(self, name: str, settings: Mapping[str, str]) -> Process:
        module = "profile" if name == "worker" else name
        return service_process(
            f"groundswell.{module}_service",
            int(self.addresses[name].rpartition(":")[2]),
            self.bundles,
            self.folder / f"{name}.log",
            settings,
            ["encode"] if name == "worker" else [],
        )

    def _known(self, name: str) -> dict[str, str]:
        """What a process must know of the others."""
        known = {} if self._door is None else self._door.of_services()
        if name in ("profile", "worker"):
            # Trying text backends takes seconds; tests of it say so.
            known |= {"GROUNDSWELL_DATABASE_URL": self.database_url}
            return known | {"GROUNDSWELL_ENCODER_BACKEND": "onnx"}
        known |= {"GROUNDSWELL_PROFILE_ADDRESS": self.targets.profile}
        if name == "ranker":
            known |= {
                "GROUNDSWELL_SESSION_ADDRESS": self.targets.session,
                "GROUNDSWELL_UPSTREAM_TIMEOUT_S": UPSTREAM_TIMEOUT_S,
                "GROUNDSWELL_START_WAIT_S": "30",
            }
        return known
