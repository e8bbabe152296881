"""`groundswell prepare` hands every option on, and draws its report."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundswell.cli.app import app
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import LEFT_OUT, META, PICTURE, load_prepared
from groundswell.trainer.errors import DataError
from tests.unit.trainer.logs import log, write

T = 1_700_000_000
EVENTS = log(
    *(f"u{n % 3},i{n % 5},view,{T + 900 * n}" for n in range(40)),
    f"u0,i0,view,{T}",
    "u1,i1,like,5",
    "u1,mute,like,",
)
ITEMS = "item_id,title\n" + "".join(f"i{n},Title {n}\n" for n in range(5)) + "mute,\n"


def run(folder: Path, *options: str) -> Path:
    out = folder / "out"
    files = ["--events", str(write(folder / "e.csv", EVENTS))]
    files += ["--items", str(write(folder / "i.csv", ITEMS)), "--out", str(out)]
    done = CliRunner().invoke(app, ["prepare", *files, *options])
    if done.exception is not None:
        raise done.exception
    assert str(PICTURE) in done.output.replace("\n", "")
    return out


def test_the_defaults_leave_out_only_what_cannot_be_read(tmp_path: Path) -> None:
    out = run(tmp_path)
    assert (out / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert len((out / LEFT_OUT).read_text().splitlines()) == 1 + 1
    prepared = load_prepared(out)
    assert prepared.split == "leave-one-out"
    assert set(prepared.weights.tolist()) == {1.0}
    assert not prepared.cold.any()


def test_every_option_reaches_what_is_written(tmp_path: Path) -> None:
    options = "--split next-session --session-gap-minutes 60 --action-weight view=0.5"
    options += " --action-weight like=0 --cold-items 0.4 --seed 1 --impute-times --drop-duplicates"
    options += " --drop-impossible-times --drop-bots --drop-without-text"
    out = run(tmp_path, *options.split())
    prepared = load_prepared(out)
    assert prepared.split == "next-session"
    assert set(prepared.weights.tolist()) == {0.5}
    assert prepared.cold.any()
    meta = json.loads((out / META).read_text())
    assert meta["session_gap_s"] == 3600
    assert meta["filters"] == ["duplicates", "impossible_times", "bots", "without_text"]
    assert sum(meta["report"]["left_out"].values()) == 3
    assert sum(meta["report"]["items_left_out"].values()) == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--action-weight", "view"), "ACTION=WEIGHT"),
        (("--action-weight", "gaze=1"), "unknown action"),
        (("--cold-items", "1"), "share of cold items"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    tmp_path: Path, option: tuple[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        run(tmp_path, *option)


@pytest.mark.parametrize("name", ["~", "~root", "log [1]*?", "a%20b", "file:x", "-out", "é"])
def test_a_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "e.csv", EVENTS)
    write(tmp_path / "i.csv", ITEMS)
    prepare(Path("e.csv"), Path("i.csv"), Path(name))
    inside = {path.name for path in (tmp_path / name).iterdir()}
    assert inside == {"events.parquet", "items.parquet", "users.parquet", LEFT_OUT, META}
    assert load_prepared(Path(name)).num_users == 3
