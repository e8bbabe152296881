"""Streams an event log into the running services; it goes on where an earlier run stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.text import Text

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.cli.imports.event_rows import EventRows
from groundswell.cli.imports.file_report import check_all_taken, say_how_read, say_left_out
from groundswell.cli.imports.journal import ImportProgress, Journal, check_journal
from groundswell.client import GroundswellClient, GroundswellError
from groundswell.common.v1.event_pb2 import EVENT_STATUS_DUPLICATE
from groundswell.logs.alike import find_alike
from groundswell.profile.v1.event_service_pb2 import ImportEventsResponse
from groundswell.trainer.loop.progress import working

BATCH = 1_000

_SAVE_EVERY_S = 0.5
_EXAMPLES = 5
_DUPLICATE = (
    "  duplicate: stored already, by an earlier import, or by this one before its connection broke "
    "or it was interrupted"
)
_UNKNOWN = "ITEM_NOT_FOUND"
_MOST_UNKNOWN, _CATALOGUE_READ = 10_000, 1_000_000
"""How many ids are compared to tell why items are unknown."""


def import_log(
    client: GroundswellClient,
    console: Console,
    file: Path,
    journal_path: Path,
    target: str,
    separator: str | None = None,
) -> "Imported":
    """Import a log with a progress bar, and print how many rows were stored.

    Raises CommandError at the end when any row of the file is not stored.
    """
    check_journal(journal_path)
    with working(console, f"reading {file.name}"):
        rows = EventRows(file, separator)
    say_how_read(console, rows.notes, rows.ignored_columns)
    journal = Journal(journal_path, file, target)
    with progress_bar(console, "events") as update, _says_where_it_stopped(console, journal_path):
        imported = EventImport(client, rows, journal).run(lambda done: update(done, len(rows)))
    report(console, rows, imported)
    _say_alike(client, console, imported)
    progress = imported.progress
    if progress.rejected[_UNKNOWN] and progress.accepted + progress.duplicate == 0:
        raise CommandError(f"no row of {file} was taken; import the items first")
    num_left = progress.rejected.total() + rows.left_out.height
    check_all_taken(file, num_left, len(rows) + rows.left_out.height)
    return imported


@contextmanager
def _says_where_it_stopped(console: Console, journal: Path) -> Iterator[None]:
    """When the services fail, say that the next run goes on from the journal."""
    try:
        yield
    except GroundswellError:
        if journal.exists():
            console.print("the same command goes on where it stopped")
        raise


def report(console: Console, rows: EventRows, imported: "Imported") -> None:
    progress = imported.progress
    if imported.resumed_at:
        console.print(f"went on after {imported.resumed_at:,} rows of an earlier run")
    if imported.journal_problem:
        console.print(
            f"warning: the journal could not be kept up to date ({imported.journal_problem}); the "
            "rows are stored all the same",
            soft_wrap=True,
        )
    console.print(f"{progress.accepted:,} events accepted, {progress.duplicate:,} duplicate")
    if progress.duplicate:
        console.print(_DUPLICATE)
    for reason, number in progress.rejected.most_common():
        console.print(f"{number:,} rejected: {reason}")
    for example in imported.examples:
        console.print(Text(f"  {example}", style="dim"))
    say_left_out(console, rows.left_out)


def _say_alike(client: GroundswellClient, console: Console, imported: "Imported") -> None:
    """Print which items of the catalogue the unknown ids of the log look like."""
    if not imported.unknown_items:
        return
    known = [item.item_id for item in islice(client.list_items(page_size=1_000), _CATALOGUE_READ)]
    unknown = pl.Series(sorted(imported.unknown_items), dtype=pl.String)
    for alike in find_alike(unknown, pl.Series(known, dtype=pl.String)):
        text = f"items that are not in the catalogue look like items in it: {alike}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Imported:
    """The result of an import."""

    progress: ImportProgress
    resumed_at: int = 0
    examples: list[str] = field(default_factory=list)
    """Some of the rows that were rejected in this run, each with its reason."""
    journal_problem: str = ""
    """Why the journal could not be kept; empty when it could."""
    unknown_items: set[str] = field(default_factory=set)
    """Some of the item ids that are not in the catalogue."""


class EventImport:
    """Imports the rows of one log; the journal keeps how many were acknowledged."""

    def __init__(self, client: GroundswellClient, rows: EventRows, journal: Journal) -> None:
        self._client = client
        self._rows = rows
        self._journal = journal

    def run(self, on_progress: Callable[[int], None]) -> Imported:
        """Import what is not imported yet; `on_progress(rows done)` comes after each batch.

        Raises GroundswellError when the services fail; the next run goes on from there.
        """
        progress = self._resumable()
        imported = Imported(progress, resumed_at=progress.next_row)
        on_progress(progress.next_row)
        saved = time.monotonic()
        try:
            rows = self._rows.since(progress.next_row)
            for answer in self._client.import_events(rows, batch_size=BATCH):
                self._add(imported, answer)
                on_progress(progress.next_row)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._keep(imported, lambda: self._journal.save(progress))
                    saved = time.monotonic()
        except BaseException:
            self._keep(imported, lambda: self._journal.save(progress))
            raise
        self._keep(imported, self._journal.finish)
        return imported

    @staticmethod
    def _keep(imported: Imported, write: Callable[[], None]) -> None:
        """Write the journal; what is stored counts even where that fails."""
        try:
            write()
        except OSError as error:
            imported.journal_problem = f"{error.filename or 'its file'}: {error.strerror}"

    def _resumable(self) -> ImportProgress:
        """The progress that the journal kept, if the services still hold what it says.

        They may have been started over an empty state since.
        """
        progress = self._journal.load()
        if progress.last_stored is None or progress.next_row > len(self._rows):
            return ImportProgress()
        (result,) = self._client.append_events([self._rows.at(progress.last_stored)])
        return progress if result.status == EVENT_STATUS_DUPLICATE else ImportProgress()

    def _add(self, imported: Imported, answer: ImportEventsResponse) -> None:
        progress = imported.progress
        first = progress.next_row
        size = min(BATCH, len(self._rows) - first)
        rejected = {row.index for row in answer.rejected}
        for row in answer.rejected:
            progress.rejected[row.result.reason] += 1
            if row.result.reason == _UNKNOWN and len(imported.unknown_items) < _MOST_UNKNOWN:
                imported.unknown_items.add(self._rows.at(first + row.index).item_id)
            if len(imported.examples) < _EXAMPLES:
                event = self._rows.at(first + row.index)
                imported.examples.append(
                    f"row {event.ordinal + 1}: {row.result.reason}: {row.result.detail}"
                )
        stored = [index for index in range(size) if index not in rejected]
        if stored:
            progress.last_stored = first + stored[-1]
        progress.accepted += answer.num_accepted
        progress.duplicate += answer.num_duplicate
        progress.next_row = first + size
