"""Encodes the texts of stale items for the worker."""

from collections.abc import Mapping
from typing import Any

from groundswell.features.text import content_hash, item_text
from groundswell.profile_service.store import items as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.items import KnownItem
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_items
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.serving.telemetry import count

_TOKEN_CHARACTERS = 4


class EncodeItems:
    """Encodes the texts of claimed items."""

    least_tokens = 16

    def __init__(
        self, database: Database, encoding: EncoderThread, spec: Spec, signals: Signals
    ) -> None:
        self.stale = WorkList(stale_items)
        self._database = database
        self._encoding = encoding
        self._fingerprint = spec.fingerprint
        self._signals = signals

    def tokens(self, connection: DatabaseConnection, versions: Mapping[int, int]) -> dict[int, int]:
        """Estimate the tokens of each item's text."""
        lengths = statements.text_lengths(connection, versions)
        return {n: self.least_tokens + lengths[n] // _TOKEN_CHARACTERS for n in versions}

    async def parts(self, claim: Claim) -> list[Claim]:
        """Return the claim as it is: items are small."""
        return [claim]

    async def encode(self, claim: Claim) -> None:
        """Encode the claimed items whose text changed, and store their vectors."""
        await self._cover(claim, ends=True)

    async def cover(self, claim: Claim) -> dict[int, int]:
        """Do the same without ending the claim; return the version that each item is covered to."""
        return await self._cover(claim, ends=False)

    async def works(self) -> bool:
        """Whether the encoder can encode a simple text."""
        return await self._encoding.works()

    async def _cover(self, claim: Claim, *, ends: bool) -> dict[int, int]:
        items, hashes = await self._database.read(lambda c: self._look(c, list(claim.versions)))
        texts = {
            number: item_text(c.title, c.categories, c.description)
            for number, c in ((number, item.content) for number, item in items.items())
        }
        digests = {n: content_hash(text, self._fingerprint) for n, text in texts.items()}
        new = [number for number in texts if hashes.get(number) != digests[number]]
        vectors = await self._encoding.encode([texts[number] for number in new])
        rows = [
            {
                "item_no": number,
                "fingerprint": self._fingerprint,
                "content_hash": digests[number],
                "vector": vector.astype("<f4").tobytes(),
            }
            for number, vector in zip(new, vectors, strict=True)
        ]
        covered = await self._database.write(lambda c: self._store(c, claim, rows, ends=ends))
        self._signals.catalogue.notify()
        count("items_encoded", amount=len(rows))
        return covered

    def _look(
        self, connection: DatabaseConnection, item_nos: list[int]
    ) -> tuple[dict[int, KnownItem], dict[int, bytes]]:
        items = statements.items_by_number(connection, item_nos)
        return items, statements.text_hashes(connection, item_nos, self._fingerprint)

    def _store(
        self,
        connection: DatabaseConnection,
        claim: Claim,
        rows: list[dict[str, Any]],
        *,
        ends: bool,
    ) -> dict[int, int]:
        revision = statements.lock_revision(connection)
        held = self.stale.still_held(connection, claim, claim.versions)
        # An item that changed meanwhile has another text now; its vector is not stored.
        same = {n for n, version in held.items() if version == claim.versions[n]}
        rows = [row for row in rows if row["item_no"] in same]
        statements.put_texts(connection, rows)
        revisions = {row["item_no"]: revision + 1 + n for n, row in enumerate(rows)}
        statements.touch_items(connection, revisions)
        statements.set_revision(connection, revision + len(rows))
        covered = {number: claim.versions[number] for number in held}
        if ends:
            self.stale.finish(connection, claim, covered)
        return covered
