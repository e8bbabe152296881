"""The journal of an import: only ever about one file and one deployment."""

from collections import Counter
from pathlib import Path

import pytest

from groundswell.cli.failures import CommandError
from groundswell.cli.imports.journal import ImportProgress, Journal, check_journal

TARGET = "127.0.0.1:50051"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "events.csv"
    path.write_text("some rows")
    return path


def made() -> ImportProgress:
    return ImportProgress(2000, 1990, 7, Counter(ITEM_NOT_FOUND=3), 1998)


def test_progress_comes_back_as_it_was(tmp_path: Path, source: Path) -> None:
    Journal(tmp_path / "journal", source, TARGET).save(made())
    assert Journal(tmp_path / "journal", source, TARGET).load() == made()


def test_without_a_journal_an_import_starts_at_the_first_row(tmp_path: Path, source: Path) -> None:
    assert Journal(tmp_path / "journal", source, TARGET).load() == ImportProgress()


def test_a_changed_file_starts_over(tmp_path: Path, source: Path) -> None:
    Journal(tmp_path / "journal", source, TARGET).save(made())
    source.write_text("other rows")
    assert Journal(tmp_path / "journal", source, TARGET).load() == ImportProgress()


def test_another_deployment_starts_over(tmp_path: Path, source: Path) -> None:
    Journal(tmp_path / "journal", source, TARGET).save(made())
    assert Journal(tmp_path / "journal", source, "elsewhere:50051").load() == ImportProgress()


def test_a_finished_import_leaves_nothing(tmp_path: Path, source: Path) -> None:
    journal = Journal(tmp_path / "journal", source, TARGET)
    journal.save(made())
    journal.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"about": {}}', "user_id,item_id"])
def test_a_file_that_is_no_journal_is_refused_and_kept(
    tmp_path: Path, source: Path, text: str
) -> None:
    path = tmp_path / "journal"
    path.write_text(text)
    if text == '{"about": {}}':
        assert Journal(path, source, TARGET).load() == ImportProgress()
        return
    with pytest.raises(CommandError, match="not the journal"):
        Journal(path, source, TARGET).load()
    assert path.read_text() == text


def test_a_place_where_no_journal_can_be_kept_is_refused_before_the_import(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_journal(tmp_path / "journal")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for place in (tmp_path, tmp_path / "file/journal", tmp_path / "none/journal"):
        with pytest.raises(CommandError, match=r"cannot be written.*--resume-file"):
            check_journal(place)


def test_a_file_of_any_bytes_is_no_journal(tmp_path: Path, source: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1\xb5\xff")
    with pytest.raises(CommandError, match="is not the journal of an import"):
        Journal(tmp_path / "log.parquet", source, TARGET).load()
