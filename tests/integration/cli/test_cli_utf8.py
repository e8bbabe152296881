"""Files and output are UTF-8 whatever the locale says; what is not UTF-8 is named."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import COMMAND

ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python then reads arguments, names and files as ASCII, as it does other locales in theirs."""


def run(*arguments: str | bytes, folder: Path, **variables: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **variables},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [f"josé,ítem-{n},view,{1_700_000_000 + n}" for n in range(4)]
    text = "\n".join(("user_id,item_id,action,timestamp", *rows, "josé,ítem-1,schön,1")) + "\n"
    (tmp_path / "évents.csv").write_text(text, encoding="utf-8")
    items = "item_id,title,größe\n" + "".join(f"ítem-{n},日本 {n},große\n" for n in range(4))
    (tmp_path / "ítems.csv").write_text(items, encoding="utf-8")
    return tmp_path


def test_a_log_is_prepared_in_utf8_under_a_locale_of_another_encoding(log: Path) -> None:
    command = ["prepare", "--events", "évents.csv", "--items", "ítems.csv", "--out", "öut"]
    status, out, err = run(*map(os.fsencode, command), folder=log, **ASCII_LOCALE)
    assert (status, "Error" in err.decode("utf-8")) == (0, False)
    assert "'schön'" in out.decode("utf-8")
    assert "größe" in out.decode("utf-8")
    for file in (log / "öut").iterdir():
        if file.suffix in (".json", ".csv"):
            file.read_text(encoding="utf-8")
    meta = json.loads((log / "öut" / "meta.json").read_text(encoding="utf-8"))
    assert meta["report"]["attributes"] == {"grosse": "text"}


def test_an_encoding_of_the_output_that_is_not_utf8_is_not_used(tmp_path: Path) -> None:
    status, _, err = run(
        "train", "--data", "dönt", "--bundles", "x", folder=tmp_path, PYTHONIOENCODING="latin-1"
    )
    assert status == 1
    assert "no prepared data at dönt" in err.decode("utf-8")


@pytest.mark.parametrize("locale", [{}, ASCII_LOCALE], ids=["utf-8", "ascii"])
def test_an_argument_that_is_not_utf8_is_one_line(tmp_path: Path, locale: dict[str, str]) -> None:
    for command in (("recommend", b"caf\xe9"), ("events", "import", b"caf\xe9.csv")):
        status, out, err = run(*command, folder=tmp_path, **locale)
        assert (status, out) == (2, b"")
        (line,) = err.decode("utf-8").splitlines()
        assert line.startswith("groundswell: the argument 'caf\\xe9")
        assert "is not UTF-8" in line
