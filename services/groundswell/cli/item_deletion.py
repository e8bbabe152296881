"""Deletes items of the running services: by their ids, or all that a catalogue's file lacks."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from groundswell.cli.failures import CommandError
from groundswell.cli.progress import progress_bar
from groundswell.client import GroundswellClient
from groundswell.logs.events import as_text
from groundswell.logs.items import read_items
from groundswell.logs.tables import read_table

_BATCH = 1_000
_PAGE = 1_000


def ids_of_file(path: Path) -> list[str]:
    """The ids of a file's column item_id. Raises DataError."""
    ids = as_text(read_table(path, ("item_id",)).frame["item_id"])
    return [one for one in ids.drop_nulls().to_list() if one.strip()]


def delete(client: GroundswellClient, console: Console, ids: Iterable[str]) -> None:
    """Delete items and say how many were there. Raises CommandError without any id."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        raise CommandError("no item to delete: give ids, or --file FILE with a column item_id")
    deleted = _delete(client, console, wanted)
    console.print(f"{deleted:,} items deleted, {len(wanted) - deleted:,} were not there")


def held_ids(client: GroundswellClient, console: Console) -> list[str]:
    """The ids of all items that the services hold."""
    with progress_bar(console, "items that are held") as update:
        ids: list[str] = []
        for one in client.list_items(page_size=_PAGE):
            ids.append(one.item_id)
            if len(ids) % _PAGE == 0:
                update(len(ids), 0)
    return ids


def delete_what_is_not_in(
    client: GroundswellClient, console: Console, file: Path, held: Sequence[str]
) -> None:
    """Delete those of the `held` items that the file, which has been imported, lacks.

    Raises CommandError when rows of the file were left out: their items are not told from those
    that are gone. Nothing is deleted then.
    """
    items = read_items(file)
    if items.left_out.height:
        raise CommandError(
            f"no item was deleted: {items.left_out.height:,} rows of {file} were left out, and "
            "their items would be; mend these rows and run it again (what could be read is written)"
        )
    kept = set(items.frame["item_id"].to_list())
    gone = [item_id for item_id in held if item_id not in kept]
    deleted = _delete(client, console, gone) if gone else 0
    console.print(f"{deleted:,} items deleted that are not in {file}", soft_wrap=True)


def _delete(client: GroundswellClient, console: Console, ids: Sequence[str]) -> int:
    waiting, done, deleted = iter(ids), 0, 0
    with progress_bar(console, "items") as update:
        while batch := list(islice(waiting, _BATCH)):
            deleted += client.delete_items(batch).num_deleted
            done += len(batch)
            update(done, len(ids))
    return deleted
