"""The worker of a process that changes from one encoder to another."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from sqlalchemy import select

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.store.coverage import uncovered_users
from groundswell.profile_service.store.profiles import Spec, find_profiles
from groundswell.profile_service.store.tables import users
from groundswell.profile_service.worker.running import RunningWorker
from groundswell.profile_service.worker.text_backends.backend import TextEncoders
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import CountingEncoder, Memory, reading
from tests.support.processes import SECRET

OLD, NEW = Spec("old:fp32:1", 4), Spec("new:fp32:1", 4)


async def _tell_nobody(*, failing: bool) -> None:  # noqa: ARG001 - the seam's
    return None


def _bundle_of(spec: Spec) -> Bundle:
    manifest = SimpleNamespace(max_chunks=1_000)
    return cast(Bundle, SimpleNamespace(id=spec.fingerprint, manifest=manifest))


@dataclass
class Process:
    """The worker of one process over a database, with a new and an old encoder."""

    memory: Memory
    old: CountingEncoder = field(default_factory=CountingEncoder)
    new: CountingEncoder = field(default_factory=CountingEncoder)
    has_worker: bool = True

    def __post_init__(self) -> None:
        self.workers = RunningWorker(
            self.memory.database,
            self.memory.settings.model_copy(
                update={
                    "worker": self.has_worker,
                    # Four users: 64 tokens for the one encoder, and 112 for the other.
                    "worker_claim_tokens": 4 * 176,
                    "idle_poll_s": 0.05,
                }
            ),
            self.memory.signals,
            lambda bundle: TextEncoders(
                *[self.old if bundle.id == OLD.fingerprint else self.new] * 2
            ),
            _tell_nobody,
        )

    async def begin(self, spec: Spec = OLD) -> None:
        await self.workers.begin(_bundle_of(spec), spec)

    async def backfill(self) -> None:
        await self.workers.backfill(_bundle_of(NEW), NEW)

    async def serve(self, spec: Spec) -> None:
        await self.workers.serve(_bundle_of(spec), spec)

    async def covered(self, user: str, spec: Spec) -> int:
        """How many events of a user an encoder covers."""
        known = users.c.user_key == Pseudonymizer(SECRET).user_key(user)
        async with reading(self.memory.database) as connection:
            number = (await connection.execute(select(users.c.user_no).where(known))).scalar_one()
            rows = await connection.run(find_profiles, [number], spec)
        return rows[number].covered_sequence if number in rows else 0

    async def num_uncovered(self, spec: Spec) -> int:
        async with reading(self.memory.database) as connection:
            rows = await connection.execute(uncovered_users(spec).between(0, 2**62))
            return len(rows.all())
