"""Encodes claimed items or users with every text encoder in use."""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Protocol

import structlog

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.serving.errors import ResourceExhausted, Unavailable
from groundswell.serving.telemetry import count, unexpected

_log = structlog.get_logger(__name__)

OUTAGES = (Unavailable, ResourceExhausted)
"""Errors that come from the database, not from the work."""


class EncoderWork(Protocol):
    """Encodes one kind of subject, items or users, with one encoder."""

    least_tokens: int
    """What a subject costs at least."""

    def tokens(
        self, connection: DatabaseConnection, versions: Mapping[int, int]
    ) -> Mapping[int, int]:
        """Estimate how many tokens of text each subject has that the encoder has not read."""
        ...

    async def parts(self, claim: Claim) -> list[Claim]:
        """Split a claim into parts, for each of which little has to be read."""
        ...

    async def encode(self, claim: Claim) -> None:
        """Encode the claimed subjects and end the claim."""
        ...

    async def cover(self, claim: Claim) -> dict[int, int] | None:
        """Encode the claimed subjects; return the version that each one is covered to.

        None: only a part was encoded, and the claim was released for the rest.
        """
        ...

    async def works(self) -> bool:
        """Whether the encoder can encode a simple text."""
        ...


class EveryEncoder:
    """Encodes what is claimed with the served encoder, and then with the others in use.

    When one of the others fails on every text, the work is done without it.
    """

    def __init__(self, database: Database, stale: WorkList, claim_tokens: int) -> None:
        """Take how much text is claimed at once, in tokens."""
        self.stale = stale
        self._database = database
        self._claim_tokens = claim_tokens
        self._works: dict[Spec, EncoderWork] = {}

    def __bool__(self) -> bool:
        """Whether an encoder is in use."""
        return bool(self._works)

    def join(self, spec: Spec, work: EncoderWork) -> None:
        """Use an encoder, or another one too."""
        self._works[spec] = work

    def serve(self, spec: Spec) -> None:
        """Make an encoder the served one, if it is in use."""
        if spec in self._works:
            self._works = {spec: self._works[spec], **self._works}

    def leave(self, spec: Spec) -> None:
        """Stop using an encoder."""
        self._works.pop(spec, None)

    def claim(
        self,
        connection: DatabaseConnection,
        owner: str,
        lease_s: float,
        *,
        suspects: bool,
        oldest: bool,
    ) -> tuple[Claim, int]:
        """Claim the newest subjects, or the oldest ones; return the claim and its cost in tokens.

        The claim has one subject at least, where there are any, and one suspect at most: it costs
        what a whole claim does, since it may end the process.
        """
        least = min(work.least_tokens for work in self._works.values())
        cost = self._claim_tokens

        def affordable(versions: dict[int, int]) -> list[int]:
            nonlocal cost
            num_tokens = [work.tokens(connection, versions) for work in self._works.values()]
            costs = [sum(of_encoder[s] for of_encoder in num_tokens) for s in versions]
            totals = list(accumulate(costs))
            num = max(bisect_right(totals, self._claim_tokens), 1)
            cost = totals[num - 1] if totals else 0
            return list(versions)[:num]

        claim = self.stale.claim(
            connection,
            owner,
            1 if suspects else max(self._claim_tokens // least, 1),
            lease_s,
            suspects=suspects,
            oldest=oldest,
            choose=None if suspects else affordable,
        )
        return claim, cost

    async def parts(self, claim: Claim) -> list[Claim]:
        """Split a claim into parts, for each of which every encoder has little to read."""
        parts = [claim]
        for work in list(self._works.values()):
            parts = [smaller for part in parts for smaller in await work.parts(part)]
        return parts

    async def works(self) -> bool:
        """Whether the served encoder can encode a simple text; else what failed was the encoder."""
        served = next(iter(self._works.values()), None)
        return served is None or await served.works()

    async def encode(self, claim: Claim) -> None:
        """Encode the claimed subjects with every encoder, and end the claim."""
        if not self._works:  # the last one left after the claim
            await self._database.write(lambda c: self.stale.release(c, claim, 0.0, counts=False))
            return
        served, *others = self._works.values()
        if not others:
            await served.encode(claim)
            return
        reached = await served.cover(claim)
        for other in others:
            reached = None if reached is None else await self._beside(other, claim, reached)
        if reached is not None:
            done = reached
            await self._database.write(lambda c: self.stale.finish(c, claim, done))

    async def _beside(
        self, other: EncoderWork, claim: Claim, reached: dict[int, int]
    ) -> dict[int, int] | None:
        """Return the version that each subject is covered to, by this encoder and those before."""
        try:
            covered = await other.cover(claim)
        except OUTAGES:
            raise
        except Exception as error:
            if len(claim.versions) > 1 or await other.works():
                # The worker then tries each subject alone, and later again.
                raise
            count("encoders_failing_beside")
            _log.error("encoder_beside_failed", **unexpected(error))
            return reached
        if covered is None:
            return None
        return {subject: min(v, covered.get(subject, v)) for subject, v in reached.items()}
