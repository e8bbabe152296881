"""Writes a catalogue into the running services, in batches that fit into one message."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl
from rich.console import Console

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.cli.imports.deletion import delete_what_is_not_in, held_ids
from groundswell.cli.imports.file_report import check_all_taken, say_how_read, say_left_out
from groundswell.client import GroundswellClient, GroundswellError, item
from groundswell.common.v1.item_pb2 import Item
from groundswell.logs.items import TIMES, Items, read_items
from groundswell.trainer.loop.progress import working

# The contract's limit, and half of what a message may have.
_BATCH = 1_000
_BATCH_BYTES = 2 * 1024 * 1024

_CATALOGUE_PAGE, _CATALOGUE_READ = 1_000, 10_000
"""How many items are read to find the kinds of attributes."""
_LISTED = 100
"""Refused items that are listed one by one; the others are counted."""
_INDEX = re.compile(r"items\[(\d+)\]")


class Refused(NamedTuple):
    """An item that the services refused."""

    line: int
    item_id: str
    problem: str


def import_each(
    client: GroundswellClient,
    console: Console,
    file: Path,
    *,
    separator: str | None = None,
    kinds: Mapping[str, str] | None = None,
    replace: bool = False,
) -> None:
    """Import a catalogue as `import_catalogue`; with `replace` delete all other items then."""
    held = held_ids(client, console) if replace else []
    try:
        done = import_catalogue(client, console, file, separator=separator, kinds=kinds)
    except CommandError as error:
        raise CommandError(f"no item was deleted: {error}" if replace else f"{error}") from error
    if replace:
        delete_what_is_not_in(client, console, done, held)


def import_catalogue(
    client: GroundswellClient,
    console: Console,
    file: Path,
    *,
    separator: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> list[str]:
    """Import a catalogue with a progress bar; returns the ids of the items that were written.

    Raises DataError when the file cannot be used. An item that the services refuse is listed and
    the others are written; raises CommandError at the end when any row was not.
    """
    items = read_catalogue(client, console, file, separator, kinds)
    done, refused = list[str](), list[Refused]()
    with progress_bar(console, "items") as update:
        for batch in item_batches(items.frame):
            done += written(client.upsert_items, batch, refused)
            update(len(done) + len(refused), items.frame.height)
    console.print(f"{len(done):,} items written")
    say_refused(console, items.left_out, refused)
    check_all_taken(file, items.left_out.height + len(refused), items.num_rows)
    return done


def read_catalogue(
    client: GroundswellClient,
    console: Console,
    file: Path,
    separator: str | None,
    kinds: Mapping[str, str] | None,
) -> Items:
    """Read an item file with the kinds of attributes that the catalogue has. Raises DataError."""
    with working(console, f"reading {file.name}"):
        items = read_items(file, separator=separator, kinds=kinds)
    known = _catalogue_kinds(client, items.attribute_kinds)
    if any(kind != items.attribute_kinds[name] for name, kind in known.items()):
        items = read_items(file, separator=separator, kinds=kinds, catalogue_kinds=known)
    say_how_read(console, items.notes, items.ignored_columns)
    return items


def _catalogue_kinds(client: GroundswellClient, names: Collection[str]) -> dict[str, str]:
    """Read the kinds of these attributes from the first items of the catalogue."""
    kinds: dict[str, str] = {}
    if not names:
        return kinds
    for known in islice(client.list_items(page_size=_CATALOGUE_PAGE), _CATALOGUE_READ):
        for name, value in known.attributes.items():
            kind = value.WhichOneof("kind")
            if name in names and kind is not None:
                kinds[name] = kind
        if len(kinds) == len(names):
            break
    return kinds


def say_refused(console: Console, left_out: pl.DataFrame, refused: Sequence[Refused]) -> None:
    """List the rows that were left out or refused, with their lines."""
    rows = [(line, reason) for line, reason in left_out.iter_rows()]
    rows += [(line, f"{item_id!r}: {problem}") for line, item_id, problem in refused]
    for line, problem in sorted(rows)[:_LISTED]:
        console.print(f"line {line}: {problem}", markup=False, highlight=False, soft_wrap=True)
    if len(rows) > _LISTED:
        say_left_out(console, left_out)
        console.print(f"{len(refused):,} refused by the services")


def item_batches(table: pl.DataFrame) -> Iterator[list[tuple[int, Item]]]:
    """The items of a table with their lines, as many at once as one call may carry."""
    batch: list[tuple[int, Item]] = []
    size = 0
    for row in table.iter_rows(named=True):
        made = item(
            row["item_id"],
            row["title"],
            description=row["description"],
            categories=row["categories"],
            attributes=json.loads(row["attributes"]),
            available=row["available"],
        )
        for name in TIMES:
            if row[name] is not None:
                getattr(made, name).FromMicroseconds(row[name])
        if batch and (len(batch) == _BATCH or size + made.ByteSize() > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row["line"], made))
        size += made.ByteSize()
    if batch:
        yield batch


def written(
    write: Callable[[list[Item]], object], batch: list[tuple[int, Item]], refused: list[Refused]
) -> list[str]:
    """Write a batch without the items that the services refuse; return the ids of the others."""
    while batch:
        try:
            write([made for _, made in batch])
        except GroundswellError as error:
            named = _INDEX.search(" ".join([error.message, *(v.field for v in error.violations)]))
            if named is None:
                raise
            line, made = batch.pop(int(named[1]))
            refused.append(Refused(line, made.item_id, error.message))
        else:
            break
    return [made.item_id for _, made in batch]
