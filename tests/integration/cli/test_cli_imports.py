"""Importing a catalogue and a log into running services: nothing lost, nothing twice."""

import errno
import json
import signal
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from groundswell.cli.imports.event_rows import EventRows
from groundswell.cli.imports.events import EventImport, report
from groundswell.cli.imports.journal import ImportProgress, Journal
from groundswell.common.v1.item_pb2 import Item
from tests.integration.cli.support import Services
from tests.support.bundles import ITEMS
from tests.support.cli import COMMAND, groundswell
from tests.support.waiting import eventually

HEADER = "user_id,item_id,action,timestamp,value\n"


def write_log(path: Path, user: str, users: int, events: int) -> int:
    """A log of `users` × `events` rows over the tiny bundle's items; returns the rows."""
    with path.open("w") as file:
        file.write(HEADER)
        for number in range(events):
            for each in range(users):
                item = ITEMS[(number * 7 + each) % len(ITEMS)][0]
                file.write(f"{user}-{each},{item},rate,{1_700_000_000 + number * 60},4\n")
    return users * events


def stored(services: Services, user: str) -> list[tuple[int, int]]:
    events = services.client.list_events(user, page_size=1000)
    return [(each.event.time.seconds, each.event.ordinal) for each in events]


@pytest.fixture(scope="module", autouse=True)
def catalogue(services: Services, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("catalogue") / "items.csv"
    rows = "".join(f"{item},{title},{'|'.join(names)}\n" for item, title, names in ITEMS)
    path.write_text("item_id,title,categories\n" + rows)
    done = services.call("items", "import", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(ITEMS)} items written" in done.stdout


def test_a_second_run_stores_nothing_twice(services: Services, tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    rows = write_log(log, "twice", users=3, events=5)
    first = services.call("events", "import", str(log))
    assert f"{rows} events accepted, 0 duplicate" in first.stdout
    before = stored(services, "twice-1")
    assert [ordinal for _, ordinal in before] == [13, 10, 7, 4, 1]
    assert "stored already" not in first.stdout
    second = services.call("events", "import", str(log))
    assert f"0 events accepted, {rows} duplicate" in second.stdout
    assert "duplicate: stored already, by an earlier import, or by this one" in second.stdout
    assert stored(services, "twice-1") == before
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


def test_an_import_that_was_killed_goes_on_where_it_stopped(
    services: Services, tmp_path: Path
) -> None:
    log, journal = tmp_path / "events.csv", tmp_path / "journal"
    rows = write_log(log, "killed", users=100, events=150)
    command = ["events", "import", str(log), "--resume-file", str(journal)]
    with subprocess.Popen(
        [*COMMAND, *command, "--profile", services.targets.profile], stdout=subprocess.DEVNULL
    ) as process:
        eventually(journal.exists, 30)
        process.kill()
    done = json.loads(journal.read_text())["next_row"]
    assert 0 < done < rows
    second = services.call(*command)
    assert second.returncode == 0
    assert f"went on after {done:,} rows of an earlier run" in second.stdout
    profiles = services.client.batch_get_profiles(f"killed-{each}" for each in range(100))
    assert [profile.num_events for profile in profiles] == [150] * 100
    assert not journal.exists()


def test_an_interrupted_import_says_how_to_go_on(services: Services, tmp_path: Path) -> None:
    log, journal = tmp_path / "events.csv", tmp_path / "journal"
    write_log(log, "interrupted", users=100, events=150)
    arguments = ["events", "import", str(log), "--resume-file", str(journal)]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--profile", services.targets.profile],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        eventually(journal.exists, 30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines() == [
        "groundswell: interrupted; the same command goes on where it stopped, and stores nothing "
        "twice"
    ]
    assert journal.exists()


def test_an_import_whose_services_are_gone_says_how_to_go_on(tmp_path: Path) -> None:
    log, journal = tmp_path / "events.csv", tmp_path / "journal"
    write_log(log, "gone", users=2, events=10)
    nobody = "127.0.0.1:1"
    Journal(journal, log, nobody).save(ImportProgress(next_row=15, accepted=15, last_stored=14))
    arguments = ["events", "import", str(log), "--resume-file", str(journal)]
    done = groundswell(*arguments, "--profile", nobody)
    assert done.returncode == 1
    assert f"does not answer at {nobody}" in done.stderr
    assert "the same command goes on where it stopped" in done.stdout


def test_a_journal_about_services_that_hold_nothing_is_not_believed(
    services: Services, tmp_path: Path
) -> None:
    log, journal = tmp_path / "events.csv", tmp_path / "events.csv.import.json"
    rows = write_log(log, "fresh", users=2, events=10)
    claimed = ImportProgress(next_row=15, accepted=15, last_stored=14)
    Journal(journal, log, services.targets.profile).save(claimed)
    done = services.call("events", "import", str(log))
    assert done.returncode == 0
    assert "went on" not in done.stdout
    assert len(stored(services, "fresh-0")) + len(stored(services, "fresh-1")) == rows


def test_rows_that_are_not_stored_are_counted_by_reason_and_are_a_failure(
    services: Services, tmp_path: Path
) -> None:
    log = tmp_path / "events.csv"
    log.write_text(
        HEADER
        + "mixed,item-1,rate,1700000000,5\n"
        + "mixed,item-99,rate,1700000001,5\n"
        + "mixed,item-2,dance,1700000002,5\n"
    )
    done = services.call("events", "import", str(log))
    assert done.returncode == 1
    assert "1 events accepted" in done.stdout
    assert done.stderr.splitlines() == [
        f"groundswell: 2 of 3 rows of {log} were left out: correct what is listed above and run "
        "the command again"
    ]
    assert "1 rejected: ITEM_NOT_FOUND" in done.stdout
    assert "row 2: ITEM_NOT_FOUND" in done.stdout
    assert "1 left out: action is unknown" in done.stdout


@pytest.mark.parametrize(
    "row", ["mixed,item-1,dance,1700000000,5", "one,item-99,rate,1700000000,5"]
)
def test_each_way_not_to_be_stored_is_a_failure(
    services: Services, tmp_path: Path, row: str
) -> None:
    log = tmp_path / "events.csv"
    log.write_text(f"{HEADER}one,item-1,rate,1700000000,5\n{row}\n")
    done = services.call("events", "import", str(log))
    assert done.returncode == 1
    assert f"1 of 2 rows of {log} were left out" in done.stderr
    assert len(stored(services, "one")) == 1


def test_a_log_of_which_nothing_is_taken_fails(services: Services, tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_text(HEADER + "lost,item-99,rate,1700000001,5\n")
    done = services.call("events", "import", str(log))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"groundswell: no row of {log} was taken; import the items first"
    ]


def test_items_that_cannot_be_taken_are_listed_and_all_others_are_written(
    services: Services, tmp_path: Path
) -> None:
    catalogue = tmp_path / "items.csv"
    rows = ("good-1,Good,1", f"bad-1,{'x' * 2001},2", "good-2,Good too,3", ",No id,4")
    catalogue.write_text("item_id,title,size\n" + "\n".join(rows) + "\n")
    done = services.call("items", "import", str(catalogue))
    assert done.returncode == 1
    assert "2 items written" in done.stdout
    assert "line 3: title is longer than 2,000 bytes" in done.stdout
    assert "line 5: item_id is missing" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"groundswell: 2 of 4 rows of {catalogue} were left out")
    assert [kept.title for kept in items_of(services, "good-1", "good-2")] == ["Good", "Good too"]


def test_items_that_the_services_refuse_are_listed_and_the_rest_of_their_batch_is_written(
    services: Services, tmp_path: Path
) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,title,weight\nw-1,One,1\nw-2,Two,2\n")
    assert services.call("items", "import", str(catalogue)).returncode == 0
    catalogue.write_text("item_id,title,weight\nw-3,Three,3\nw-4,Four,\nw-5,Five,5\n")
    done = services.call("items", "import", str(catalogue), "--attribute", "weight=text")
    assert done.returncode == 1
    assert "1 items written" in done.stdout
    assert "line 2: 'w-3': items[0].attributes.weight is a text, but was first a" in done.stdout
    assert "line 4: 'w-5': items[" in done.stdout
    assert items_of(services, "w-4")[0].title == "Four"


def test_an_attribute_keeps_the_kind_that_the_catalogue_has(
    services: Services, tmp_path: Path
) -> None:
    catalogue = tmp_path / "items.csv"
    for rows in ("z-1,One,01234\n", "z-2,Two,56789\n"):
        catalogue.write_text("item_id,title,zip\n" + rows)
        assert services.call("items", "import", str(catalogue)).returncode == 0
    kept = items_of(services, "z-1", "z-2")
    assert [item.attributes["zip"].text for item in kept] == ["01234", "56789"]


def test_whether_an_item_is_available_is_taken_and_columns_that_are_not_are_named(
    services: Services, tmp_path: Path
) -> None:
    catalogue = tmp_path / "items.csv"
    header = "item_id,title,available,Price (EUR),日本"
    catalogue.write_text(f"{header}\na-1,One,false,3,1\na-2,Two,true,4,1\n", encoding="utf-8")
    done = services.call("items", "import", str(catalogue))
    assert done.returncode == 0
    first, second = items_of(services, "a-1", "a-2")
    assert (first.available, second.available) == (False, True)
    assert first.attributes["price_eur"].number == 3
    assert "the column 'Price (EUR)' is the attribute price_eur" in done.stdout
    assert "ignored columns: '日本'" in done.stdout


def test_ids_that_look_like_items_of_the_catalogue_are_named(
    services: Services, tmp_path: Path
) -> None:
    log = tmp_path / "events.tsv"
    rows = ("u,ITEM-1,view,1700000000000,web", "u,item-1,view,1700000001000,web")
    text = "\n".join(("user_id,item_id,action,timestamp,channel", *rows)) + "\n"
    log.write_text(text.replace(",", "\t"))
    done = services.call("events", "import", str(log))
    assert done.returncode == 1
    assert "1, such as 'ITEM-1' for 'item-1': they differ by capital letters" in done.stdout
    assert "ignored columns: channel" in done.stdout
    assert "columns separated by tabs" in done.stdout
    assert "times are read as milliseconds" in done.stdout


def items_of(services: Services, *item_ids: str) -> list[Item]:
    return [services.client.get_item(item_id) for item_id in item_ids]


def test_a_file_that_is_no_journal_is_left_alone(services: Services, tmp_path: Path) -> None:
    log, other = tmp_path / "events.csv", tmp_path / "notes.txt"
    write_log(log, "notes", users=1, events=2)
    other.write_text("my notes")
    done = services.call("events", "import", str(log), "--resume-file", str(other))
    assert done.returncode == 1
    assert "not the journal" in done.stderr
    assert other.read_text() == "my notes"
    assert stored(services, "notes-0") == []


def test_nothing_is_stored_when_the_journal_cannot_be_kept(
    services: Services, tmp_path: Path
) -> None:
    log, journal = tmp_path / "events.csv", tmp_path / "none/journal"
    write_log(log, "unkept", users=1, events=2)
    done = services.call("events", "import", str(log), "--resume-file", str(journal))
    assert done.returncode == 1
    assert f"the journal {journal} cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert stored(services, "unkept-0") == []


def test_an_import_whose_journal_fails_on_the_way_counts_as_done(
    services: Services, tmp_path: Path
) -> None:
    log = tmp_path / "events.csv"
    write_log(log, "odd", users=1, events=2)

    class Failing(Journal):
        def finish(self) -> None:
            raise OSError(errno.EROFS, "Read-only file system", "journal")

    output = Console(record=True, width=200, file=(tmp_path / "shown").open("w"))
    rows = EventRows(log)
    journal = Failing(tmp_path / "journal", log, "here")
    imported = EventImport(services.client, rows, journal).run(lambda _: None)
    report(output, rows, imported)
    shown = output.export_text()
    assert "2 events accepted" in shown
    assert "warning: the journal could not be kept up to date (journal: Read-only file" in shown
    assert len(stored(services, "odd-0")) == 2
