"""From a log to recommendations: trained here, served by separate processes, called by clients."""

import csv
import json
import os
import shutil
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from groundswell.artifacts.store import BundleStore
from groundswell.cli.suite.deployment import free_ports, taken_ports
from groundswell.client import GroundswellClient, GroundswellError, Targets, event, item
from groundswell.common.v1.event_pb2 import EVENT_STATUS_ACCEPTED, EVENT_STATUS_DUPLICATE
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from tests.support import in_process
from tests.support.cli import Up
from tests.support.pages import PAGES, ROOT, blocks, commands, step_of_quick_start
from tests.support.trained import Trained
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Suite:
    """The running suite and what it was made of."""

    up: Up
    client: GroundswellClient
    trained: Trained

    def history(self, user: str) -> list[dict[str, str]]:
        """A user's rows of the log, oldest first."""
        rows = csv.DictReader(self.trained.world.events.read_text().splitlines())
        return sorted((r for r in rows if r["user_id"] == user), key=lambda r: int(r["timestamp"]))

    def categories(self) -> dict[str, str]:
        """The primary category of each item."""
        rows = csv.DictReader(self.trained.world.items.read_text().splitlines())
        return {row["item_id"]: row["categories"].split("|")[0] for row in rows}


@pytest.fixture(scope="module")
def suite(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The bundle behind running services that hold its log; afterwards nothing is left."""
    world = trained.world
    with Up(trained.bundles, tmp_path_factory.mktemp("up"), free_ports()) as up:
        up.wait_ready()
        for kind, path in (("items", world.items), ("events", world.events)):
            done = up.call(kind, "import", str(path))
            assert done.returncode == 0, done.stderr
        with GroundswellClient(up.ports.targets) as client:
            *_, last = client.refresh_profiles(timeout=60)
            assert (last.num_users_left, last.num_items_left) == (0, 0)
            yield Suite(up, client, trained)
        assert up.stop() == 0
    assert taken_ports(up.ports) == {}


def test_the_bundle_is_better_than_popularity(suite: Suite, tmp_path: Path) -> None:
    figures, report = tmp_path / "figures.json", tmp_path / "report"
    told = [str(report) if word == "report" else word for word in step_of_quick_start("evaluate")]
    assert told[-1] == str(report)
    shown = suite.trained.run(*told, "--json", str(figures))
    assert (report / "report.html").exists()
    evaluation = json.loads(figures.read_text())
    models = evaluation["models"]
    assert set(models) >= {"popularity", "item-knn", "short", "long", "constant", "fused"}
    assert models["fused"]["ndcg@10"] > 4 * models["popularity"]["ndcg@10"]
    assert f"{models['fused']['ndcg@10']:.4f}" in shown
    assert {"accuracy", "macro_f1", "ece"} <= set(evaluation["interests"])


def test_every_process_serves_the_bundle(suite: Suite) -> None:
    served = {suite.client.model(name).model.bundle_id for name in ("ranker", "session", "profile")}
    assert served == {BundleStore(suite.trained.bundles).current()}


def test_the_command_recommends_what_the_user_has_not_had(suite: Suite) -> None:
    history = suite.history("user-0007")
    done = suite.up.call(
        "recommend", "user-0007", "--as-of", history[-1]["timestamp"], "--k", "12", "--json"
    )
    answer = json.loads(done.stdout)
    ids = [each["item_id"] for each in answer["recommendations"]]
    assert len(set(ids)) == 12
    had = {row["item_id"] for row in history if row["action"] != "view"}
    assert had.isdisjoint(ids)
    assert answer["degradations"] == []
    assert 0 <= answer["fusion_weight"] <= 1
    parts = [each["short_score"] + each["long_score"] for each in answer["recommendations"]]
    scores = [each["score"] for each in answer["recommendations"]]
    assert parts == pytest.approx(scores, abs=1e-4)
    assert scores == sorted(scores, reverse=True)


def test_interests_follow_what_the_user_did(suite: Suite) -> None:
    categories = suite.categories()
    hits = 0
    users = [f"user-{number:04d}" for number in range(30)]
    for user in users:
        history = suite.history(user)
        counts = Counter(categories[row["item_id"]] for row in history)
        as_of = float(history[-1]["timestamp"])
        interests = suite.client.interests(user, as_of=as_of).interests
        assert sum(each.probability for each in interests) == pytest.approx(1, abs=1e-3)
        favourites = {name for name, _ in counts.most_common(2)}
        hits += interests[0].category in favourites
    assert hits > len(users) / 2


def test_new_events_move_the_list_at_once(suite: Suite) -> None:
    user = "user-0011"
    history, categories = suite.history(user), suite.categories()
    counts = Counter(categories[row["item_id"]] for row in history)
    other = min(set(categories.values()), key=lambda name: counts[name])
    had = {row["item_id"] for row in history}
    new = [each for each, name in categories.items() if name == other and each not in had][:3]
    start = int(history[-1]["timestamp"]) + 3 * 86_400
    before = suite.client.recommend(user, as_of=start)
    events = [
        event(user, each, "like", time=start + 60 * number, event_id=f"new-{number}")
        for number, each in enumerate(new)
    ]
    results = suite.client.record_events(events)
    assert [result.status for result in results] == [EVENT_STATUS_ACCEPTED] * 3
    after = suite.client.recommend(user, as_of=start + 240)

    def share(answer: ranker_pb2.RecommendResponse) -> int:
        return sum(categories[each.item_id] == other for each in answer.recommendations)

    assert share(after) > share(before)
    assert {each.item_id for each in after.recommendations}.isdisjoint(new)
    again = suite.client.record_events(events)
    assert [result.status for result in again] == [EVENT_STATUS_DUPLICATE] * 3


def test_an_item_that_no_training_saw_is_placed_by_its_text(suite: Suite) -> None:
    cold = item("cold-item", "The Silent Astronaut of Lisbon", categories=["Space"])
    suite.client.upsert_items([cold])
    *_, last = suite.client.refresh_profiles(timeout=30)
    assert last.num_items_left == 0

    def is_known() -> bool:
        try:
            return bool(suite.client.similar_items("cold-item").items)
        except GroundswellError as error:
            assert error.reason in ("ITEM_NOT_FOUND", "ITEM_NOT_ENCODED")
            return False

    eventually(is_known)
    near = suite.client.similar_items("cold-item", page_size=5).items
    assert sum("Space" in each.categories for each in near) >= 3
    assert suite.up.call("similar", "cold-item").returncode == 0
    answer = suite.client.recommend("user-0003", filter="item_id = 'cold-item'")
    assert [each.item_id for each in answer.recommendations] == ["cold-item"]
    assert ranker_pb2.DEGRADATION_PAGE_NOT_FILLED in answer.degradations


def test_an_unknown_user_gets_popular_items_and_is_told_so(suite: Suite) -> None:
    answer = suite.client.recommend("nobody")
    assert ranker_pb2.DEGRADATION_POPULARITY_FALLBACK in answer.degradations
    rows = csv.DictReader(suite.trained.world.events.read_text().splitlines())
    popular = [each for each, _ in Counter(row["item_id"] for row in rows).most_common(10)]
    assert len({each.item_id for each in answer.recommendations} & set(popular)) >= 7


def test_a_visitor_without_an_id_is_read_from_their_events(suite: Suite) -> None:
    space = [each for each, name in suite.categories().items() if name == "Space"][:4]
    visit = [event("", each, "click", event_id="") for each in space]
    answer = suite.client.recommend(events=visit)
    assert answer.fusion_weight_source == ranker_pb2.FUSION_WEIGHT_SOURCE_ONE_VIEW
    assert {each.item_id for each in answer.recommendations}.isdisjoint(space)


def example(suite: Suite, name: str, users: str, python: str | Path = sys.executable) -> list[str]:
    """The lines that an example of the Python client prints."""
    targets = suite.up.ports.targets
    program = ROOT / f"clients/python/examples/{name}.py"
    command = [str(python), str(program), users, targets.ranker, targets.session, targets.profile]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_client_in_an_environment_of_its_own_prints_recommendations(
    suite: Suite, tmp_path: Path
) -> None:
    venv.create(tmp_path / "alone", with_pip=False)
    python = tmp_path / "alone/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", str(ROOT)]
    subprocess.run([*install, "--no-compile", "-c", str(ROOT / "constraints.txt")], check=True)
    program = (ROOT / "clients/python/examples/quick_start.py").read_text().splitlines()
    assert len([line for line in program if line and not line.startswith('"""')]) < 10
    assert len(example(suite, "quick_start", "user-0005", python)) == 5
    (packages,) = (tmp_path / "alone/lib").glob("*/site-packages")
    assert (packages / "groundswell/py.typed").exists()
    installed = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert installed == {"groundswell", "grpcio", "protobuf", "typing_extensions"}


def test_a_backend_shows_a_list_records_a_click_and_reads_an_error(suite: Suite) -> None:
    *items, degradations, recorded, error = example(suite, "backend", "user-0021")
    assert [line.partition(" ")[0] for line in items] == ["item:"] * 5
    assert (degradations, recorded) == ("degradations:", "recorded: EVENT_STATUS_ACCEPTED ")
    assert error == "error: INVALID_ARGUMENT PAGE_SIZE_INVALID page_size 0s"
    clicked = items[0].split()[1]
    (stored, *_) = suite.client.list_events("user-0021", page_size=1)
    assert (stored.event.item_id, bool(stored.event.attribution_token)) == (clicked, True)


def test_a_backend_on_an_event_loop_says_what_it_showed(suite: Suite) -> None:
    lines = example(suite, "backend_aio", "user-0022,user-0023")
    assert [len(line.split()) for line in lines] == [4, 4]

    def were_shown_two() -> bool:
        users = [line.split()[0] for line in lines]
        return [len(suite.client.impressions(user).counts) for user in users] == [4 * 2] * 2

    eventually(were_shown_two)


CALLS = ("recommend", "recommend-all", "similar", "explain", "outcomes", "items", "events")


def test_each_command_of_the_pages_that_asks_services_works(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(suite.trained.bundles, tmp_path / "bundles", copy_function=os.link)
    for path in suite.trained.world:
        os.link(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    (row, *_) = suite.history("user-0030")
    bundle_id = BundleStore(tmp_path / "bundles").current()
    assert bundle_id
    meant = {"USER": row["user_id"], "ITEM": row["item_id"], "9a02b7c4": bundle_id}
    # Each once, in the order of the pages.
    told = dict.fromkeys(command.words[1:] for page in PAGES for command in commands(page))
    ended = {}
    for words in told:
        arguments = [meant.get(word, word) for word in words]
        if words[:1] == ("bundles",) and words[1] in ("list", "variant"):
            ended[words] = in_process.run(*arguments)
        elif words and words[0] in CALLS:
            ended[words] = suite.up.call(*arguments)
    assert len(ended) > 15
    # The ranker of this suite draws no weight at random, as estimates of policies need.
    for words in [words for words in ended if "--policy" in words]:
        assert "POLICY_NOT_COVERED" in ended.pop(words).stderr
    assert {words: done.stderr for words, done in ended.items() if done.returncode} == {}
    assert (tmp_path / "all.parquet").exists()


def test_the_program_of_the_quick_start_runs(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = {
        block
        for page in ("README.md", "docs/quick-start.md")
        for block in blocks(ROOT / page, "python")
    }
    targets = suite.up.ports.targets
    exec(
        program.replace("GroundswellClient()", f"GroundswellClient({targets!r})"),
        {"Targets": Targets},
    )
    *listed, end = capsys.readouterr().out.splitlines()
    assert len(listed) == 5
    assert end.startswith("α ")
