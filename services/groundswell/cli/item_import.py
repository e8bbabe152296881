"""Writes a catalogue into the running services, in batches that fit into a message."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from rich.console import Console

from groundswell.cli.failures import CommandError
from groundswell.cli.progress import progress_bar
from groundswell.client import GroundswellClient, GroundswellError, item
from groundswell.common.v1.item_pb2 import Item
from groundswell.logs.items import read_items

# The contract's limit, and half of what a message may have.
_BATCH = 1_000
_BATCH_BYTES = 2 * 1024 * 1024

_INDEX = re.compile(r"items\[(\d+)\]")


def import_catalogue(client: GroundswellClient, console: Console, file: Path) -> int:
    """Import a catalogue with a progress bar; returns how many items were written.

    Raises DataError when the file cannot be used, and CommandError naming an item that the
    services refuse: those before its batch are written then.
    """
    items = read_items(file)
    done = 0
    with progress_bar(console, "items") as update:
        for batch in item_batches(items.frame):
            _upsert(client, batch)
            done += len(batch)
            update(done, items.frame.height)
    console.print(f"{done:,} items written")
    for reason, number in items.left_out["reason"].value_counts(sort=True).iter_rows():
        console.print(f"{number:,} rows left out: {reason}")
    return done


def item_batches(table: pl.DataFrame) -> Iterator[list[Item]]:
    """The items of a table, as many at once as one call may carry."""
    batch: list[Item] = []
    size = 0
    for row in table.iter_rows(named=True):
        made = item(
            row["item_id"],
            row["title"],
            description=row["description"],
            categories=row["categories"],
            attributes=json.loads(row["attributes"]),
        )
        if batch and (len(batch) == _BATCH or size + made.ByteSize() > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(made)
        size += made.ByteSize()
    if batch:
        yield batch


def _upsert(client: GroundswellClient, batch: list[Item]) -> None:
    try:
        client.upsert_items(batch)
    except GroundswellError as error:
        named = _INDEX.search(" ".join([error.message, *(v.field for v in error.violations)]))
        if named is None:
            raise
        raise CommandError(f"item {batch[int(named[1])].item_id!r}: {error}") from error
