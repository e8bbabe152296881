"""Writes the recommendations of a whole population to one Parquet file, and can be interrupted.

Parts of some thousand users lie in a folder beside the file until all are there. A later run with
the same users and options makes only the parts that are missing.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.client import GroundswellClient
from groundswell.client.requests import (
    MAX_BATCH_ITEMS,
    MAX_REQUESTS,
    RecommendOptions,
    recommend_request,
)
from groundswell.ranker.v1.ranker_service_pb2 import Degradation, RecommendResponse

PART = 5_000
"""The users of a part: what an interruption costs at most."""

_FORMAT = 1
_ABOUT = "about.json"
_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "rank": pa.int32(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "short_score": pa.float64(),
        "long_score": pa.float64(),
        "fusion_weight": pa.float64(),
        "bundle_id": pa.string(),
        "degradations": pa.list_(pa.string()),
    }
)


class PopulationExport:
    """The recommendations of users, in their order: one row for each item, ranks from 1."""

    def __init__(
        self, out: Path, users: Sequence[str], options: RecommendOptions, target: str
    ) -> None:
        """`options` have a `page_size`; `target` is the address of the ranker."""
        self._out = out
        self._users = users
        self._options: RecommendOptions = {**options, "num_interests": 0}
        self._folder = out.with_name(f"{out.name}.parts")
        names = hashlib.sha256("\0".join(users).encode()).hexdigest()
        about = {"format": _FORMAT, "part": PART, "users": names, "target": target, **options}
        self._about = json.dumps(about)
        self.num_without_items = 0
        """Users of this run who have no row."""
        self.damaged: list[Path] = []
        """Parts of an earlier run that could not be read; this run makes them again."""

    def run(self, client: GroundswellClient, on_progress: Callable[[int], None]) -> None:
        """Make the missing parts and join all; `on_progress(users done)` comes after each batch.

        Raises GroundswellError when the service fails; the next run goes on from there.
        """
        self._begin()
        starts = [n for n in range(0, len(self._users), PART) if not self._is_there(self._part(n))]
        done = len(self._users) - sum(len(self._users[n : n + PART]) for n in starts)
        on_progress(done)
        wanted = (user for start in starts for user in self._users[start : start + PART])
        size = min(MAX_REQUESTS, MAX_BATCH_ITEMS // self._options["page_size"])
        asked = (recommend_request(user, **self._options) for user in wanted)
        answers = client.recommend_all(asked, batch_size=size)
        for start in starts:
            users = self._users[start : start + PART]
            columns = _Columns()
            for user, answer in zip(users, islice(answers, len(users)), strict=True):
                self.num_without_items += not answer.recommendations
                columns.add(user, answer)
                done += 1
                if done % size == 0:
                    on_progress(done)
            _write(self._part(start), [columns.table()])
        on_progress(done)
        parts = (_read(self._part(n)) for n in range(0, len(self._users), PART))
        _write(self._out, parts)
        shutil.rmtree(self._folder)

    def _begin(self) -> None:
        """Keep the parts of an earlier run, if it was for the same users and options."""
        about = self._folder / _ABOUT
        if about.exists() and about.read_bytes() != self._about.encode():
            shutil.rmtree(self._folder)
        self._folder.mkdir(exist_ok=True)
        about.write_bytes(self._about.encode())

    def _is_there(self, part: Path) -> bool:
        """Whether an earlier run made a part, and it is whole."""
        if not part.exists():
            return False
        try:
            _read(part)
        except (OSError, pa.ArrowException):
            self.damaged.append(part)
            return False
        return True

    def _part(self, start: int) -> Path:
        return self._folder / f"{start:012}.parquet"


class _Columns:
    """The rows of a part, by column."""

    def __init__(self) -> None:
        self._columns: Mapping[str, list[object]] = {name: [] for name in _SCHEMA.names}

    def add(self, user_id: str, answer: RecommendResponse) -> None:
        """Add the items of a user."""
        kinds = [
            Degradation.Name(kind).removeprefix("DEGRADATION_") for kind in answer.degradations
        ]
        for rank, one in enumerate(answer.recommendations, 1):
            of_item = (one.item_id, one.score, one.short_score, one.long_score)
            row = (user_id, rank, *of_item, answer.fusion_weight, answer.bundle_id, kinds)
            for column, value in zip(self._columns.values(), row, strict=True):
                column.append(value)

    def table(self) -> pa.Table:
        """The rows."""
        return pa.table(self._columns, _SCHEMA)


def _read(path: Path) -> pa.Table:
    """Read a file that `_write` wrote. Raises OSError or ArrowException for a damaged one."""
    return pq.read_table(path, page_checksum_verification=True)


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write a file; it appears under its name when it is whole."""
    making = path.with_name(f"{path.name}.new")
    with pq.ParquetWriter(making, _SCHEMA, write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)
    making.replace(path)
