"""Imports a whole catalogue at once: all of it is prepared aside, then it becomes visible."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from rich.console import Console

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.cli.imports.file_report import check_all_taken
from groundswell.cli.imports.items import (
    Refused,
    item_batches,
    read_catalogue,
    say_refused,
    written,
)
from groundswell.client import GroundswellClient, GroundswellError
from groundswell.common.v1.item_pb2 import Item
from groundswell.profile.v1.catalogue_service_pb2 import CommitStageResponse
from groundswell.trainer.loop.progress import working

_NAME_DIGITS = 32


def import_at_once(
    client: GroundswellClient,
    console: Console,
    file: Path,
    *,
    separator: str | None = None,
    kinds: Mapping[str, str] | None = None,
    replace: bool = False,
) -> None:
    """Stage every item of a file, wait for the vectors of new ones, then commit the stage.

    With `replace` all other items are deleted in the same transaction. A later call with the same
    file goes on where this one was interrupted. Where another one commits the same file meanwhile,
    what differs from it now is written. Raises DataError when the file cannot be used, and
    CommandError, when any row cannot be taken: then nothing has changed.
    """
    items = read_catalogue(client, console, file, separator, kinds)
    stage = hashlib.sha256(items.frame.write_ipc(None).getbuffer()).hexdigest()[:_NAME_DIGITS]
    console.print(f"preparing the items in the stage {stage}", highlight=False)
    refused: list[Refused] = []
    if not items.left_out.height:
        _stage(client, console, stage, items.frame, refused)
    num_wrong = items.left_out.height + len(refused)
    if num_wrong:
        client.drop_stage(stage)
        say_refused(console, items.left_out, refused)
        try:
            check_all_taken(file, num_wrong, items.num_rows)
        except CommandError as error:
            raise CommandError(f"nothing was changed: {error}") from error
    with working(console, "waiting for the vectors of new items"):
        for left in client.refresh_profiles():
            if not left.num_items_left:
                break
    done = _commit(client, console, stage, items.frame, replace=replace)
    console.print(
        f"{items.frame.height:,} items are visible, {done.num_written:,} of them changed; "
        f"{done.num_deleted:,} items deleted"
    )


def _commit(
    client: GroundswellClient, console: Console, stage: str, frame: pl.DataFrame, *, replace: bool
) -> CommitStageResponse:
    """Commit a stage; where another import of the same file was faster, put it there again."""
    try:
        return client.commit_stage(stage, delete_others=replace)
    except GroundswellError as error:
        if error.reason != "STAGE_NOT_FOUND":
            raise
    console.print("another import of this file has committed it; comparing what is visible")
    _stage(client, console, stage, frame, [])
    return client.commit_stage(stage, delete_others=replace)


def _stage(
    client: GroundswellClient,
    console: Console,
    stage: str,
    frame: pl.DataFrame,
    refused: list[Refused],
) -> None:
    """Put all rows into a stage, but for those that an earlier call has put there."""
    num_staged = done = 0

    def put(batch: list[Item]) -> None:
        nonlocal num_staged
        num_staged = client.stage_items(stage, batch)

    with progress_bar(console, "items") as update:
        for batch in item_batches(frame):
            done += len(batch)
            if done > num_staged:
                written(put, batch, refused)
            update(done, frame.height)
    if not refused and num_staged != frame.height:
        client.drop_stage(stage)
        raise CommandError("an earlier import of this file left a part; run the command again")
