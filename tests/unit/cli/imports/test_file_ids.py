"""Ids that no service accepts are listed and left out; the others of a file are read."""

import io
from pathlib import Path

from rich.console import Console

from groundswell.cli.imports.file_ids import ids_of_file


def test_ids_that_no_service_accepts_are_left_out_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    rows = ["user_id", "ann", "b\0b", "é" * 129, "", "x" * 256]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    said = io.StringIO()
    ids, num_left = ids_of_file(file, Console(file=said, width=200), "user_id")
    assert ids == ["ann", "x" * 256]
    assert num_left == 2  # the empty line is none of the file's rows
    assert "user_id contains a NUL" in said.getvalue()
    assert "user_id is longer than 256 bytes" in said.getvalue()
