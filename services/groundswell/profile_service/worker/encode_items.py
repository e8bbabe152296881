"""Encodes the texts of stale items for the worker."""

from collections.abc import Mapping, Sequence
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
        rows = await encode_texts(
            self._database, self._encoding, self._fingerprint, list(claim.versions)
        )
        covered = await self._database.write(lambda c: self._store(c, claim, rows, ends=ends))
        self._signals.catalogue.notify()
        return covered

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
        statements.store_texts(connection, revision, [r for r in rows if r["item_no"] in same])
        covered = {number: claim.versions[number] for number in held}
        if ends:
            self.stale.finish(connection, claim, covered)
        return covered


async def encode_texts(
    database: Database, encoding: EncoderThread, fingerprint: str, item_nos: Sequence[int]
) -> list[dict[str, Any]]:
    """Encode the texts of items that have no vector yet, and return the rows of `item_texts`."""

    def look(connection: DatabaseConnection) -> tuple[dict[int, KnownItem], dict[int, bytes]]:
        items = statements.items_by_number(connection, item_nos)
        return items, statements.text_hashes(connection, item_nos, fingerprint)

    items, hashes = await database.read(look)
    texts = {number: _text(item) for number, item in items.items()}
    digests = {n: content_hash(text, fingerprint) for n, text in texts.items()}
    new = [number for number in texts if hashes.get(number) != digests[number]]
    vectors = await encoding.encode([texts[number] for number in new])
    count("items_encoded", amount=len(new))
    return [
        {
            "item_no": number,
            "fingerprint": fingerprint,
            "content_hash": digests[number],
            "vector": vector.astype("<f4").tobytes(),
        }
        for number, vector in zip(new, vectors, strict=True)
    ]


def unchanged(
    connection: DatabaseConnection, rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rows whose items still have the text that was encoded."""
    items = statements.items_by_number(connection, [row["item_no"] for row in rows])
    return [
        row
        for row in rows
        if content_hash(_text(items[row["item_no"]]), row["fingerprint"]) == row["content_hash"]
    ]


def _text(item: KnownItem) -> str:
    content = item.content
    return item_text(content.title, content.categories, content.description)
