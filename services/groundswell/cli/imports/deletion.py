"""Deletes items of the running services: by id, or every item that is not in a file."""

from collections.abc import Iterable, Sequence
from itertools import islice

from rich.console import Console

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.client import GroundswellClient

_BATCH = 1_000
_PAGE = 1_000


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
