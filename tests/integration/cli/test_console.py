"""The console's pages over real services; what a browser does with them is in tests/console."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from groundswell.cli.console import lists
from groundswell.cli.console.app import LOOPBACK, console_app
from groundswell.cli.console.subject import Subject
from groundswell.client import GroundswellClient, Targets
from tests.support.bundles import ITEMS
from tests.support.console import HOSTILE, console_suite
from tests.support.in_process import run
from tests.support.suite import NOWHERE, Suite

USER = "ann & bob"
READS = {
    "batch_recommend", "explain_item", "get_item", "get_profile", "interests", "list_events",
    "model", "refresh_profiles",
}  # fmt: skip
"""Calls that store nothing; `recommend` is none, since its lists count as shown."""


class ReadOnly:
    """A client without any other call."""

    def __init__(self, client: GroundswellClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        assert name in READS
        return getattr(self._client, name)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with console_suite(tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(suite: Suite) -> TestClient:
    client = cast(GroundswellClient, ReadOnly(suite.client))
    app = console_app(client, suite.targets, suite.bundles, LOOPBACK)
    return TestClient(app, base_url="http://localhost")


def text_of(page: str) -> str:
    """What a page says, without its tags and its data."""
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<script.*?</script>", "", page))
    )


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'(?s)<script type="application/json" id="candidates">(.*?)</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_user_is_shown_with_list_interests_history_and_ages(
    browser: TestClient, suite: Suite
) -> None:
    answer = browser.get("/", params={"user": USER, "size": "5"})
    assert answer.status_code == 200
    expected = suite.client.recommend(USER, page_size=5)
    served = data_of(answer.text)["served"]
    assert [one["id"] for one in served] == [one.item_id for one in expected.recommendations]
    for shown, one in zip(served, expected.recommendations, strict=True):
        parts = shown["short"] + shown["long"] + shown["popularity"]
        assert parts == pytest.approx(one.score, abs=1e-5)
    text = text_of(answer.text)
    assert re.search(r"Monday, 04 May 2026 17:00 purchase Laughing Neighbour item-8", text)
    assert "stored events 6" in text
    assert expected.bundle_id in text
    assert "last event of the window" in text
    top = suite.client.interests(USER, by_vector=True)
    for found in (top.interests, top.short_interests, top.long_interests):
        assert f"{100 * found[0].probability:.1f} %" in text


def test_a_hostile_title_stays_text_and_every_answer_is_guarded(browser: TestClient) -> None:
    page = browser.get("/", params={"user": USER}).text
    assert HOSTILE in {one["title"] for one in data_of(page)["served"]}
    assert "alert(&#39;1&#39;)" in page
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == [
        '<script src="/static/console.js" defer>',
        '<script type="application/json" id="candidates">',
    ]
    assert not re.search(r"\s(style|on\w+)=", page)
    for path in ("/", "/suite", "/static/console.js", "/nowhere"):
        headers = browser.get(path).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    assert browser.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert browser.post("/", params={"user": USER}).status_code == 405


def test_the_parts_give_every_list_and_the_bound_holds_for_all_other_items(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "DEPTH", 4)
    subject = Subject(USER, "", None, {})
    answers = suite.client.batch_recommend(lists.requests(subject, 5))
    data = lists.Lists(answers[0], answers[1:]).for_browser()
    parts = {one["id"]: one for one in data["items"]}
    ends = data["bounds"]
    assert 4 < len(parts) < len(ITEMS) - 6
    for step in range(5, 96, 9):
        alpha = step / 100
        true = suite.client.recommend(USER, page_size=len(ITEMS), fusion_weight=alpha)
        a, b = next((a, b) for a, b in pairwise(ends) if a["alpha"] <= alpha <= b["alpha"])
        share = (alpha - a["alpha"]) / (b["alpha"] - a["alpha"])
        bound = (1 - share) * a["score"] + share * b["score"]
        for one in true.recommendations:
            known = parts.get(one.item_id)
            if known is None:
                assert one.score <= bound + 1e-5
            else:
                score = alpha * known["short"] + (1 - alpha) * known["long"]
                assert score + known["popularity"] == pytest.approx(one.score, abs=1e-5)


def test_pasted_ids_and_titles_are_a_visitors_events(browser: TestClient) -> None:
    pasted = f"item-3\r\n{ITEMS[9][1]}\r\n\r\n{HOSTILE}"
    page = browser.get("/", params={"items": pasted}).text
    text = text_of(page)
    assert re.search(r"click &lt;script.*click Laughing Winter item-9.*click \S+ \S+ item-3", text)
    data = data_of(page)
    assert (len(data["served"]), data["items"]) == (20, [])  # one vector: there is nothing to mix
    refused = browser.get("/", params={"items": "item-3\nNo Such Film"})
    assert refused.status_code == 400
    assert "No item has this id or title: No Such Film" in refused.text
    assert browser.get("/", params={"items": "item-3\n" * 51}).status_code == 400
    assert browser.get("/", params={"items": "item-3", "user": USER}).status_code == 400
    for size in ("0", "9" * 5_000):
        assert browser.get("/", params={"user": USER, "size": size}).status_code == 400
    assert "user is unknown" in browser.get("/", params={"user": "nobody"}).text


def test_why_an_item_is_in_the_list_or_not(browser: TestClient, suite: Suite) -> None:
    best = suite.client.recommend(USER, fusion_weight=0.9).recommendations[0]
    asked = {"user": USER, "alpha": "0.9"}
    page = text_of(browser.get("/why", params={**asked, "item": best.item_id}).text)
    assert "It is in the list, at place 1." in page
    assert "both, α = 0.90 1" in page
    page = text_of(browser.get("/why", params={**asked, "item": ITEMS[9][1]}).text)
    assert "It is not in the list: the user has seen it" in page
    for wrong in ({"item": ""}, {"item": best.item_id, "alpha": "much"}):
        assert browser.get("/why", params={**asked, **wrong}).status_code == 400
    far = browser.get("/why", params={**asked, "item": best.item_id, "alpha": "2"})
    assert far.status_code == 400
    assert "FUSION_WEIGHT_INVALID" in far.text


def test_services_queues_report_and_curves_are_shown(browser: TestClient, suite: Suite) -> None:
    text = text_of(browser.get("/suite").text)
    model = suite.client.model("ranker").model
    for name, address in (("ranker", suite.targets.ranker), ("session", suite.targets.session)):
        assert f"{name} {address} {model.bundle_id[:12]}" in text
    assert "users whose texts wait 0 items that wait for a vector 0" in text
    assert "validation.fused.ndcg@10 0.1234" in text
    assert "num users 1,234 last event 2023-11-14" in text
    assert "encoders: loss 3 epochs, from 5.0000 to 3.5000" in text
    assert "encoders: seconds" not in text


def test_what_does_not_answer_is_named_and_the_rest_is_shown(suite: Suite) -> None:
    targets = Targets(ranker=suite.targets.ranker, session=NOWHERE, profile=NOWHERE)
    with GroundswellClient(targets) as client:
        app = console_app(client, targets, None, LOOPBACK)
        browser = TestClient(app, base_url="http://localhost")
        page = text_of(browser.get("/", params={"user": USER}).text)
        assert page.count("Not available: UNAVAILABLE") == 2
        assert HOSTILE.partition(" & ")[2].strip('"') in page
        page = text_of(browser.get("/suite").text)
        assert page.count("Not available: UNAVAILABLE") == 3
        assert "--bundles FOLDER" in page


def test_a_port_in_use_is_one_line(suite: Suite) -> None:
    port = suite.targets.ranker.rpartition(":")[2]
    done = run("console", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"groundswell: cannot listen on 127.0.0.1:{port} (")
