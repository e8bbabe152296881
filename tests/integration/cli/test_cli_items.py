"""Deleting items by their ids, and making the services' catalogue the file's."""

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from groundswell.cli.imports.staged import import_at_once
from groundswell.client import item
from groundswell.profile.v1.profile_service_pb2 import RefreshProfilesResponse
from tests.integration.cli.support import Services
from tests.support.in_process import run
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def catalogue(services: Services) -> None:
    services.client.upsert_items(item(name, f"Title of {name}") for name in ("a", "b", "-5", "c"))


def held(services: Services) -> list[str]:
    return sorted(one.item_id for one in services.client.list_items())


def ranked(services: Services) -> list[str]:
    return sorted(one.item_id for one in services.client.recommend("stranger").recommendations)


def test_items_are_deleted_by_their_ids_and_by_a_file(services: Services, tmp_path: Path) -> None:
    (tmp_path / "gone.csv").write_text("item_id,title\nb,Any\nnever,Any\n")
    done = services.call("items", "delete", "-5", "a", "--file", str(tmp_path / "gone.csv"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "3 items deleted, 1 did not exist"
    assert held(services) == ["c"]


def test_rows_without_an_id_are_a_failure_and_all_others_are_deleted(
    services: Services, tmp_path: Path
) -> None:
    file = tmp_path / "gone.csv"
    file.write_text("item_id,title\nb,Any\n,Any\n")
    done = services.call("items", "delete", "--file", str(file))
    assert done.returncode == 1
    assert "1 items deleted, 0 did not exist" in done.stdout
    assert f"1 of 2 rows of {file} were left out" in done.stderr
    assert held(services) == ["-5", "a", "c"]


def test_replace_deletes_what_the_file_lacks(services: Services, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\nb,New title\nd,Another\n")
    done = services.call("items", "import", str(tmp_path / "items.csv"), "--replace")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("3 items deleted that are not in ")
    assert held(services) == ["b", "d"]


def test_replace_deletes_nothing_when_a_row_was_left_out(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\nb,New title\n,Whose?\n")
    done = services.call("items", "import", str(tmp_path / "items.csv"), "--replace")
    assert done.returncode == 1
    assert "no item was deleted: 1 of 2 rows" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert set(held(services)) >= {"-5", "a", "b", "c"}


def test_a_catalogue_comes_at_once_or_not_at_all(services: Services, tmp_path: Path) -> None:
    file, before = tmp_path / "items.csv", held(services)
    head = "item_id,title,price,available_from,available_until\n"
    good = f"{head}b,New title,1.5,2026-01-01,2026-02-01T12:00:00Z\nd,Another,2.5,,\n"
    options = ("items", "import", str(file), "--at-once", "--replace")
    file.write_text(f"{good}e,Third,3.5,2026-03-01,2026-02-01\n,Whose?,4.5,,\n")
    wrong = services.call(*options)
    assert wrong.returncode == 1
    assert wrong.stdout.splitlines()[-2:] == [
        "line 4: available_until is not after available_from",
        "line 5: item_id is missing",
    ]
    assert "nothing was changed: 2 of 4 rows" in wrong.stderr
    assert held(services) == before
    eventually(lambda: ranked(services) == before)
    file.write_text(f"{good}\n,,,,\n\n")  # as editors leave it
    done = services.call(*options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (
        "2 items are visible, 2 of them changed; 3 items deleted"
    )
    lists = [ranked(services)]

    def is_new() -> bool:
        lists.append(ranked(services))
        return lists[-1] == ["d"]

    eventually(is_new)
    assert all(one in (before, ["d"]) for one in lists)  # never a half; b is over
    first, second = services.client.list_items()
    assert (first.title, first.attributes["price"].number) == ("New title", 1.5)
    times = [one.ToJsonString() for one in (first.available_from, first.available_until)]
    assert times == ["2026-01-01T00:00:00Z", "2026-02-01T12:00:00Z"]
    assert (second.item_id, second.HasField("available_from")) == ("d", False)


def test_two_imports_of_one_file_at_once_are_both_done(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, said = tmp_path / "items.csv", StringIO()
    file.write_text("item_id,title\nb,New title\nd,Another\n")
    wait = services.client.refresh_profiles

    def commits_meanwhile() -> Iterator[RefreshProfilesResponse]:
        other = services.call("items", "import", str(file), "--at-once", "--replace")
        assert other.stdout.splitlines()[-1].startswith("2 items are visible, 2 of them changed")
        return wait()

    monkeypatch.setattr(services.client, "refresh_profiles", commits_meanwhile)
    import_at_once(services.client, Console(file=said), file, replace=True)
    first, *_, last = said.getvalue().splitlines()
    assert re.fullmatch("preparing the items in the stage [0-9a-f]{32}", first)
    assert "another import of this file has committed it" in said.getvalue()
    assert last == "2 items are visible, 0 of them changed; 0 items deleted"
    assert held(services) == ["b", "d"]


def test_an_id_may_begin_with_a_dash(services: Services) -> None:
    recommended = services.call("recommend", "-5", "--k", "2")
    assert recommended.returncode == 0
    similar = services.call("similar", "-5")
    assert "ITEM_NOT_FOUND" in similar.stderr or similar.returncode == 0
    wrong = services.call("recommend", "--jsn")
    assert wrong.returncode == 2
    assert "No such option: --jsn" in wrong.stderr


@pytest.mark.parametrize(
    ("command", "option", "there", "default"),
    [
        (["recommend", "anna"], "ranker", "profile", "127.0.0.1:50053"),
        (["similar", "a"], "ranker", "session", "127.0.0.1:50053"),
        (["items", "delete", "a"], "profile", "ranker", "127.0.0.1:50051"),
    ],
)
def test_another_service_at_the_address_is_named(
    services: Services, command: list[str], option: str, there: str, default: str
) -> None:
    address = getattr(services.targets, there)
    done = run(*command, f"--{option}", address)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"groundswell: --{option} {address}: the {there} service answers there, not the {option} "
        f"service, which `groundswell up` starts at {default}"
    ]
