"""`groundswell recommend-all` writes what Recommend answers, and goes on after interruptions."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from groundswell.cli.exports import recommendations
from groundswell.client import event
from tests.integration.cli.support import Services

USERS = [f"user-{n:03}" for n in range(23)]


@pytest.fixture(scope="module")
def log(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users, each with two rows."""
    services.fill()
    sent = [event(user, f"item-{n % 20}", event_id=user) for n, user in enumerate(USERS)]
    services.client.record_events(sent)
    services.refresh()
    file = tmp_path_factory.mktemp("log") / "events.csv"
    file.write_text("user_id,item_id\n" + "".join(f"{user},x\n" for user in USERS * 2))
    return file


def _noting(
    write: Callable[[Path, Iterable[pa.Table]], None],
    written: list[Path],
    path: Path,
    tables: Iterable[pa.Table],
) -> None:
    written.append(path)
    write(path, tables)


def test_the_file_has_what_recommend_answers_and_a_second_run_makes_what_is_missing_or_damaged(
    services: Services, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendations, "PART", 5)
    out = tmp_path / "all.parquet"
    command = ("recommend-all", str(log), "--out", str(out), "--k", "3", "--alpha", "0.5")
    write, written = recommendations._write, list[Path]()

    def interrupted(path: Path, tables: Iterable[pa.Table]) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        _noting(write, written, path, tables)

    monkeypatch.setattr(recommendations, "_write", interrupted)
    done = services.call(*command)
    assert done.returncode == 130
    assert "the same command goes on where it stopped" in done.stderr
    assert not out.exists()
    damaged, *kept = written
    damaged.write_bytes(damaged.read_bytes()[:-1])

    written.clear()
    monkeypatch.setattr(recommendations, "_write", partial(_noting, write, written))
    done = services.call(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        f"{damaged} was damaged, and was made again",
        f"23 users written to {out}",
    ]
    assert len(kept) == 1
    assert len(written) == 5  # three parts, the damaged one, and the file
    assert not set(kept) & set(written)
    assert [path for path in tmp_path.iterdir() if path != out] == []

    found = pl.read_parquet(out)
    assert found["user_id"].unique(maintain_order=True).to_list() == USERS
    for user in (USERS[0], USERS[7], USERS[-1]):
        due = services.client.recommend(user, page_size=3, fusion_weight=0.5)
        rows = found.filter(pl.col("user_id") == user)
        assert rows["rank"].to_list() == [1, 2, 3]
        assert rows["item_id"].to_list() == [one.item_id for one in due.recommendations]
        assert rows["score"].to_list() == [one.score for one in due.recommendations]
        assert rows["fusion_weight"].to_list() == [due.fusion_weight] * 3
        assert rows["bundle_id"].to_list() == [due.bundle_id] * 3
