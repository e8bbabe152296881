"""Opens exactly the named file, unpacks compressed files, and refuses other formats by name."""

import bz2
import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from groundswell.logs.errors import DataError

HEAD_BYTES = 1 << 20
"""How much of a file is read to find its format; the header must end within it."""
PARQUET = b"PAR1"

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_AS_CSV = "save it as CSV in UTF-8"
_OTHERS = (
    (b"PK\x03\x04", f"a zip archive or an Excel workbook; unpack it, or {_AS_CSV}"),
    (b"\xd0\xcf\x11\xe0", f"an old Excel workbook; {_AS_CSV}"),
    (b"ORC", "an ORC file; write it as Parquet"),
    (b"Obj\x01", "an Avro file; write it as Parquet"),
    (b"ARROW1", "an Arrow file; write it as Parquet"),
    (b"SQLite format 3\0", "a SQLite database; write the table as CSV"),
    (b"\xfd7zXZ", "compressed by xz; unpack it, or compress it by gzip"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"{", "JSON; write it as CSV or Parquet"),
    (b"[", "JSON; write it as CSV or Parquet"),
)
_TAR, _TAR_OFFSET = b"ustar", 257


class SourceFile:
    """One regular file; no character of its name is read as a pattern."""

    def __init__(self, path: Path) -> None:
        """Look at the file. Raises DataError when it cannot be read or is of another kind."""
        self.path = path
        self.compression: str | None = None
        self.encoding: str | None = None
        """UTF-16 or UTF-32 when the first bytes say so; `open` gives UTF-8."""
        _check_regular(path)
        with reading(path):
            with path.open("rb") as file:
                start = file.read(4)
            self.compression = next(
                (name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None
            )
            with self._unpacked() as file:
                head = file.read(HEAD_BYTES)
        self.is_parquet = head.startswith(PARQUET)
        if self.is_parquet and self.compression:
            raise DataError(f"{path} is Parquet compressed by {self.compression}; unpack it")
        if not self.is_parquet:
            _check_kind(path, head)
        self.encoding = next((name for bom, name in _ENCODINGS if head.startswith(bom)), None)
        self._text: bytes | None = None
        if self.encoding:
            self._text = self._transcoded()
            head = self._text[:HEAD_BYTES]
        self.head = head
        """The first bytes, unpacked and in UTF-8."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the unpacked bytes from their start. Errors while reading become DataError."""
        with reading(self.path):
            if self._text is not None:
                yield io.BytesIO(self._text)
                return
            with self._unpacked() as file:
                yield file

    @property
    def notes(self) -> list[str]:
        """How it was read, in sentences for the user."""
        notes = []
        if self.compression:
            notes.append(f"unpacked by {self.compression}")
        if self.encoding:
            notes.append(f"read as {self.encoding}")
        return notes

    @contextmanager
    def _unpacked(self) -> Iterator[IO[bytes]]:
        if self.compression == "zstd":
            with (
                pa.OSFile(str(self.path)) as packed,
                pa.CompressedInputStream(packed, "zstd") as stream,
            ):
                yield cast(IO[bytes], stream)
            return
        openers: dict[str | None, Any] = {"gzip": gzip.open, "bzip2": bz2.open}
        with openers.get(self.compression, open)(self.path, "rb") as file:
            yield file

    def _transcoded(self) -> bytes:
        assert self.encoding is not None
        with reading(self.path), self._unpacked() as file:
            content = file.read()
        try:
            return content.decode(self.encoding).encode()
        except UnicodeError as error:
            raise DataError(
                f"{self.path} begins as {self.encoding} but cannot be decoded; {_AS_CSV}"
            ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of the system while a file is read into DataError with its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} cannot be read: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from error


def parts(path: Path) -> list[Path]:
    """The files to read: the path itself, or the parts of a folder in the order of their names.

    As in folders that Spark writes, files whose names begin with `_` or `.` are not parts. Raises
    DataError for a folder without parts, and for one with folders in it.
    """
    if not path.is_dir():
        return [path]
    with reading(path):
        inside = sorted(p for p in path.iterdir() if not p.name.startswith(("_", ".")))
    folders = [p.name for p in inside if p.is_dir()]
    if folders:
        raise DataError(
            f"{path} holds folders, such as {folders[0]!r}; write one folder without partitions"
        )
    if not inside:
        raise DataError(f"{path} is a folder without a file to read")
    return inside


def _check_regular(path: Path) -> None:
    with reading(path):
        if not path.exists():
            raise FileNotFoundError
        regular = path.is_file()
    if not regular:
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise DataError(f"{path} cannot be read: it is {kind}; write the rows to a file first")


def _check_kind(path: Path, head: bytes) -> None:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \r\n\t")
    for magic, kind in _OTHERS:
        if start.startswith(magic):
            raise DataError(f"{path} cannot be read: it is {kind}")
    if head[_TAR_OFFSET:].startswith(_TAR):
        raise DataError(f"{path} cannot be read: it is a tar archive; unpack it")
    no_text = not any(head.startswith(bom) for bom, _ in _ENCODINGS)
    if no_text and b"\0" in head.partition(b"\n")[0]:
        raise DataError(
            f"{path} cannot be read: its first line holds NUL bytes, so it is not UTF-8 text "
            f"(UTF-16 without its mark?); {_AS_CSV}"
        )
