"""What a newcomer meets: help for everything, and one clear line for every mistake."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundswell.cli import failures
from groundswell.cli.app import app
from groundswell.cli.suite.deployment import free_ports
from tests.integration.cli.support import Services
from tests.support.bundles import ITEMS
from tests.support.cli import groundswell
from tests.support.in_process import run
from tests.support.waiting import eventually

COMMANDS = {
    ("demo",): "every step on real data",
    ("data", "ml-100k"): "--out",
    ("prepare",): "--events",
    ("train",): "--set",
    ("evaluate",): "--include-seen",
    ("grid",): "--try",
    ("up",): "--ranker-port",
    ("items", "import"): "--profile",
    ("events", "import"): "--resume-file",
    ("recommend",): "--alpha",
    ("similar",): "--ranker",
    ("explain",): "--filter",
    ("users", "erase"): "--id-file",
    ("bench",): "--max-rate",
}


def one_line(stderr: str) -> str:
    (line,) = stderr.splitlines()
    assert line.startswith("groundswell: ")
    return line.removeprefix("groundswell: ")


@pytest.fixture(scope="module")
def filled(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Services with the tiny catalogue and one user."""
    folder = tmp_path_factory.mktemp("filled")
    rows = "".join(f"{item},{title},{'|'.join(names)}\n" for item, title, names in ITEMS)
    (folder / "items.csv").write_text("item_id,title,categories\n" + rows)
    (folder / "events.csv").write_text(
        "user_id,item_id,action,timestamp\n"
        "anna,item-1,like,1700000000\nanna,item-4,like,1700000060\n"
    )
    for kind in ("items", "events"):
        assert services.call(kind, "import", str(folder / f"{kind}.csv")).returncode == 0
    eventually(lambda: not services.client.recommend("anna").degradations, 30)
    return services


@pytest.mark.parametrize(("command", "expected"), COMMANDS.items())
def test_every_command_has_help(command: tuple[str, ...], expected: str) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert expected in shown.output


def test_the_help_names_every_command() -> None:
    shown = groundswell("--help")
    assert shown.returncode == 0
    for command in COMMANDS:
        assert command[0] in shown.stdout


def test_the_commands_load_nothing_heavy_before_they_run() -> None:
    heavy = ("torch", "transformers", "numpy", "polars", "grpc", "onnxruntime", "sqlalchemy")
    program = (
        "import sys, groundswell.cli.app\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend",),
        ("recommend", "anna", "--k", "0"),
        ("recommend", "anna", "--k", "100000"),
        ("recommend", "anna", "--alpha", "1.5"),
        ("recommend", "anna", "--alpha", "much"),
        ("recommend", "anna", "--alpha", "nan"),
        ("recommend", "anna", "--as-of", "yesterday"),
        ("recommend", "anna", "--as-of", "inf"),
        ("recommend", "anna", "--as-of", "1e18000"),
        ("recommend", "anna", "--as-of", "9999999999"),
        ("up",),
        ("up", "--bundles", "x", "--ranker-port", "70000"),
        ("prepare", "--events", "a", "--items", "b", "--out", "c", "--split", "halves"),
        ("train", "--data", "x"),
        ("dance",),
    ],
)
def test_a_wrong_option_is_an_error_of_usage(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize("kind", ["events", "items"])
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "none.csv"
    done = run(kind, "import", str(path))
    assert done.returncode == 1
    assert one_line(done.stderr) == f"{path} cannot be read: no such file"


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,timestamp\nanna,i1,1700000000\n")
    done = run("events", "import", str(path))
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(f"{path} has no column 'action'")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("train", "--data", "none", "--bundles", "out"), "there is no prepared data at none"),
        (
            ("train", "--data", "none", "--bundles", "out", "--set", "epochs=many"),
            "--set epochs: 'many' is not a whole number",
        ),
        (("train", "--data", "none", "--bundles", "out", "--set", "epoch=3"), "no such setting"),
        (("evaluate", "--bundle", "none", "--data", "none"), "there is no bundle at none"),
        (
            ("prepare", "--events", "none.csv", "--items", "none.csv", "--out", "out"),
            "none.csv cannot be read: no such file",
        ),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*command)
    assert done.returncode == 1
    assert expected in one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "state"
    error = OSError(20, "Not a directory", str(path))
    assert failures.one_line(error) == f"{path}: Not a directory"
    assert failures.one_line(ValueError("a bug")) is None


@pytest.mark.parametrize("command", [("recommend", "anna"), ("similar", "item-1")])
def test_services_that_do_not_run_are_named(command: tuple[str, ...]) -> None:
    address = free_ports().targets.ranker
    done = run(*command, "--ranker", address)
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(f"the ranker service does not answer at {address}")


def test_recommendations_are_shown_with_their_parts(filled: Services) -> None:
    done = filled.call("recommend", "anna", "--k", "3", "--alpha", "0.25")
    assert (done.returncode, done.stderr) == (0, "")
    assert "α = 0.25 (forced)" in done.stdout
    assert any(title in done.stdout for _, title, _ in ITEMS)


def test_the_whole_answer_comes_as_json(filled: Services) -> None:
    done = filled.call("recommend", "anna", "--k", "3", "--alpha", "1", "--json")
    answer = json.loads(done.stdout)
    assert len(answer["recommendations"]) == 3
    assert answer["fusion_weight_source"] == "FUSION_WEIGHT_SOURCE_FORCED"
    seen = {"item-1", "item-4"}
    assert seen.isdisjoint(item["item_id"] for item in answer["recommendations"])


def test_a_filter_and_a_time_reach_the_ranker(filled: Services) -> None:
    where = "array_contains(categories, 'war')"
    for time in ("2023-11-14T23:00:00", "1700002800000", "2023-11-14 23:00:00 UTC"):
        arguments = ("--filter", where, "--as-of", time, "--json")
        answer = json.loads(filled.call("recommend", "anna", *arguments).stdout)
        assert {tuple(item["categories"]) for item in answer["recommendations"]} == {("war",)}
        assert float(answer["session_age"].removesuffix("s")) == 2740


def test_an_unknown_user_gets_popular_items_and_is_told_so(filled: Services) -> None:
    done = filled.call("recommend", "nobody")
    assert done.returncode == 0
    assert "not personalised" in done.stdout


def test_what_the_ranker_refuses_is_one_line(filled: Services) -> None:
    for command, reason in (
        (("recommend", "anna", "--filter", "price <"), "FILTER_INVALID"),
        (("recommend", ""), "USER_ID_INVALID"),
        (("similar", "item-99"), "ITEM_NOT_FOUND"),
    ):
        done = filled.call(*command)
        assert done.returncode == 1
        assert reason in one_line(done.stderr)


def test_neighbours_are_listed_nearest_first(filled: Services) -> None:
    done = filled.call("similar", "item-1", "--k", "4", "--json")
    similarities = [item["similarity"] for item in json.loads(done.stdout)["items"]]
    assert len(similarities) == 4
    assert similarities == sorted(similarities, reverse=True)
    assert "similarity" in filled.call("similar", "item-1").stdout


def test_an_item_is_explained(filled: Services) -> None:
    done = filled.call("explain", "anna", "item-1")
    assert not done.stderr
    shown = done.stdout
    assert "not in the page: the user has seen it" in shown
    assert "ranked by" in shown
    answer = json.loads(filled.call("explain", "anna", "item-2", "--k", "30", "--json").stdout)
    assert answer["place"] == answer["fused"]["rank"]


def test_a_user_is_counted_exported_and_erased_by_an_id_that_no_shell_sees(
    filled: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"zoe,item-{n},like,17000{n}0000\n" for n in range(1, 4)]
    log, id_file = tmp_path / "log.csv", tmp_path / "id.txt"
    log.write_text("user_id,item_id,action,timestamp\nanna,item-1,like,1\n" + "".join(rows))
    filled.call("events", "import", str(log))
    id_file.write_text("zoe\n")
    named = ("--id-file", str(id_file))
    counted = filled.call("users", "count", *named).stdout
    assert counted.split()[counted.split().index("events") + 1] == "3"
    lines = [
        json.loads(line) for line in filled.call("users", "export", *named).stdout.splitlines()
    ]
    assert lines[0].keys() == {"user"}
    assert [len(line["events"]["events"]) for line in lines if "events" in line] == [3]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"zoe\n")))
    assert "--yes" in one_line(filled.call("users", "erase").stderr)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"zoe\n")))
    done = filled.call("users", "erase", "--yes", "--json", "--extract", str(log))
    assert "3 events taken out" in done.stderr
    receipt = json.loads(done.stdout)
    assert {"store": "events", "num_rows": "3"} in receipt["stores"]
    assert receipt["kept_outside"]
    assert "zoe" not in log.read_text()
    again = filled.call("users", "export", *named).stdout.splitlines()
    assert [list(json.loads(line)) for line in again] == [["user"], ["erasure"]]
    # Some take this for the end of a line, and it may be part of an id.
    id_file.write_text("anna\u2028\n", "utf-8-sig")
    unknown = filled.call("users", "count", *named)
    assert set(unknown.stdout.split()[1::2]) == {"0"}
    assert "right one" in unknown.stderr
    for text, problem in (("anna\nzoe\n", "more than one line"), ("", "no id")):
        id_file.write_text(text)
        assert problem in one_line(filled.call("users", "count", *named).stderr)
    assert "no id" in one_line(filled.call("users", "count", *named).stderr)


def test_bench_writes_the_curve_of_a_load_and_spares_other_machines(
    filled: Services, tmp_path: Path
) -> None:
    figures, png = tmp_path / "load.json", tmp_path / "load.png"
    mix = "recommend=2,similar=1,interests=1,encode=1,record=1"
    steps = ("--rate", "10", "--max-rate", "15", "--seconds", "1", "--warm-up", "0.5")
    files = ("--json", str(figures), "--png", str(png))
    done = filled.call("bench", "--mix", mix, *steps, *files, "--deadline", "10")
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert [step["outcomes"] for step in report["steps"]] == [{"answered": 10}, {"answered": 15}]
    assert report["best_goodput"] == 15
    assert not report["is_saturated"]
    assert report["steps"][0]["latency_ms"]["p99"] > 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "15.0" in done.stdout

    refused = run("bench", "--ranker", "ranker.example.org:50053")
    assert "--yes" in one_line(refused.stderr)
    wrong = run("bench", "--mix", "recommend=1,delete=1")
    assert wrong.returncode == 2
