"""One kind of the worker's work, done with every text encoder that is needed."""

from typing import Protocol

import structlog

from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.serving.errors import ResourceExhausted, Unavailable
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

OUTAGES = (Unavailable, ResourceExhausted)
"""What says that the work could not be done now, whatever it is."""


class EncoderWork(Protocol):
    """The same with one encoder."""

    stale: WorkList
    limit: int
    """Subjects that are claimed at once."""

    async def parts(self, claim: Claim) -> list[Claim]:
        """Part a claim so that little has to be read for each part."""
        ...

    async def encode(self, claim: Claim) -> None:
        """Read what is claimed and end the claim."""
        ...

    async def cover(self, claim: Claim) -> dict[int, int] | None:
        """Read what is claimed; return up to which version each subject is covered then.

        None: some of it was read, and the claim was given back for the rest.
        """
        ...

    async def works(self) -> bool:
        """Whether the encoder can read anything at all."""
        ...


class JointWork:
    """Reads what is claimed with the served encoder, and then with those beside it.

    An encoder beside the served one that cannot read anything at all keeps nobody waiting.
    """

    def __init__(self, database: Database, spec: Spec, work: EncoderWork) -> None:
        self.stale = work.stale
        self.limit = work.limit
        self._database = database
        self._works = {spec: work}

    def join(self, spec: Spec, work: EncoderWork) -> None:
        """Read with another encoder too."""
        self._works[spec] = work

    def serve(self, spec: Spec) -> None:
        """Let an encoder that reads already be the served one."""
        self._works = {spec: self._works[spec], **self._works}

    def leave(self, spec: Spec) -> None:
        """Stop reading with an encoder."""
        self._works.pop(spec, None)

    async def parts(self, claim: Claim) -> list[Claim]:
        """Part a claim so that little has to be read for each part, whatever the encoder."""
        parts = [claim]
        for work in list(self._works.values()):
            parts = [smaller for part in parts for smaller in await work.parts(part)]
        return parts

    async def encode(self, claim: Claim) -> None:
        """Read what is claimed with every encoder, and end the claim."""
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
        """Return up to which version each subject is covered by those before and this one."""
        try:
            covered = await other.cover(claim)
        except OUTAGES:
            raise
        except Exception as error:
            if len(claim.versions) > 1 or await other.works():
                # Each is tried alone, and again and again: by then the served encoder has read it.
                raise
            count("encoders_failing_beside")
            _log.error("encoder_beside_failed", exc_info=error)
            return reached
        if covered is None:
            return None
        return {subject: min(v, covered.get(subject, v)) for subject, v in reached.items()}
