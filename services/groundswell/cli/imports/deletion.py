"""Deletes items of the running services: by id, or every item that is not in a file."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import polars as pl
from rich.console import Console

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.cli.imports.file_report import say_how_read, say_left_out
from groundswell.client import GroundswellClient
from groundswell.logs.raw_table import LINE
from groundswell.logs.tables import read_table
from groundswell.logs.texts import NOT_UTF8, as_ids

_BATCH = 1_000
_PAGE = 1_000


def ids_of_file(
    path: Path, console: Console, separator: str | None = None
) -> tuple[list[str], int]:
    """The ids of a file's column item_id, and how many rows lack one, which are listed.

    Raises DataError.
    """
    table = read_table(path, ("item_id",), separator=separator)
    ids = as_ids(table.frame["item_id"])
    found = pl.DataFrame({"line": table.frame[LINE], "id": ids.text, "problem": ids.problem})
    found = found.with_columns(
        reason=pl.when(pl.col("id").is_null())
        .then(pl.lit(f"item_id is {NOT_UTF8}"))
        .when(pl.col("id") == "")
        .then(pl.lit("item_id is missing"))
        .when(pl.col("problem").is_not_null())
        .then(pl.format("item_id is {}", "problem"))
    )
    notes = [*table.notes, *ids.notes("item_id")]
    say_how_read(console, notes, [name for name in table.names if name != "item_id"])
    gone = found.drop_nulls("reason").select("line", "reason")
    left_out = pl.concat([table.left_out, gone])
    say_left_out(console, left_out)
    return found.filter(pl.col("reason").is_null())["id"].to_list(), left_out.height


def delete(client: GroundswellClient, console: Console, ids: Iterable[str]) -> None:
    """Delete items and print how many existed. Raises CommandError without any id."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        raise CommandError("no item to delete: name ids, or --file FILE with a column item_id")
    deleted = _delete(client, console, wanted)
    console.print(f"{deleted:,} items deleted, {len(wanted) - deleted:,} did not exist")


def held_ids(client: GroundswellClient, console: Console) -> list[str]:
    """The ids of all items in the catalogue."""
    with progress_bar(console, "items in the catalogue") as update:
        ids: list[str] = []
        for one in client.list_items(page_size=_PAGE):
            ids.append(one.item_id)
            if len(ids) % _PAGE == 0:
                update(len(ids), 0)
    return ids


def delete_what_is_not_in(
    client: GroundswellClient, console: Console, written: Iterable[str], held: Sequence[str]
) -> None:
    """Delete the `held` items that are not among the `written` items of the file."""
    kept = set(written)
    gone = [item_id for item_id in held if item_id not in kept]
    deleted = _delete(client, console, gone) if gone else 0
    console.print(f"{deleted:,} items deleted that are not in the file")


def _delete(client: GroundswellClient, console: Console, ids: Sequence[str]) -> int:
    waiting, done, deleted = iter(ids), 0, 0
    with progress_bar(console, "items") as update:
        while batch := list(islice(waiting, _BATCH)):
            deleted += client.delete_items(batch).num_deleted
            done += len(batch)
            update(done, len(ids))
    return deleted
