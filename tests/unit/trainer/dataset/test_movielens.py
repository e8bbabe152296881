"""Both sources of MovieLens give the same two files, and only the right bytes are accepted."""

import hashlib
from pathlib import Path

import pytest

from groundswell.trainer.dataset import movielens
from groundswell.trainer.dataset.movielens import (
    MovieLens,
    get_movielens,
    parse_grouplens,
    parse_recbole,
)
from groundswell.trainer.errors import DataError

RECBOLE_LOG = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n7\t1\t5\t881250949\n"
)
RECBOLE_ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tMisérables, Les\t1995\tDrama Sci-Fi\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "1412\tLand Before Time III (1995)\tV\tAnimation Children's\n"
)
GROUPLENS_LOG = "196\t242\t3\t881250949\n7\t1\t5\t881250949\n"


def grouplens_items() -> str:
    def row(item: str, title: str, *genres: str) -> str:
        flags = ["1" if genre in genres else "0" for genre in movielens._GENRES]
        return "|".join([item, title, "01-Jan-1995", "", "http://x/?L%E9on", *flags])

    return "\n".join(
        (
            row("1", "Misérables, Les (1995) ", "Drama", "Sci-Fi"),
            row("267", "unknown", "unknown"),
            row("1412", "Land Before Time III (1995) (V)", "Animation", "Children's"),
        )
    )


def test_both_sources_give_the_same_bytes_in_the_order_of_the_rows() -> None:
    found = parse_recbole(RECBOLE_LOG, RECBOLE_ITEMS)
    assert found == parse_grouplens(GROUPLENS_LOG, grouplens_items())
    assert found.events.decode() == (
        "user_id,item_id,action,timestamp,value\n196,242,rate,881250949,3\n7,1,rate,881250949,5\n"
    )
    assert found.items.decode() == (
        "item_id,title,categories\n"
        '1,"Misérables, Les (1995)",Drama|Sci-Fi\n'
        "267,unknown,\n"
        "1412,Land Before Time III (1995) (V),Animation|Children's\n"
    )


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> MovieLens:
    """Data that counts as the right data."""
    found = parse_recbole(RECBOLE_LOG, RECBOLE_ITEMS)
    monkeypatch.setattr(movielens, "EVENTS_SHA256", hashlib.sha256(found.events).hexdigest())
    monkeypatch.setattr(movielens, "ITEMS_SHA256", hashlib.sha256(found.items).hexdigest())
    return found


def test_the_next_source_helps_out_and_what_is_there_is_kept(
    tmp_path: Path, right: MovieLens
) -> None:
    def unreachable(_: Path) -> MovieLens:
        raise OSError("no route to host")

    def altered(_: Path) -> MovieLens:
        return MovieLens(right.events + b"1,1,rate,1,1\n", right.items)

    def good(_: Path) -> MovieLens:
        return right

    files = get_movielens(tmp_path, (unreachable, altered, good))
    assert files.source == "good"
    assert files.events.read_bytes() == right.events
    assert files.items.read_bytes() == right.items
    assert get_movielens(tmp_path, (unreachable,)).source == "kept"
    files.items.write_bytes(b"broken")
    with pytest.raises(DataError, match="unreachable: no route to host"):
        get_movielens(tmp_path, (unreachable,))


def test_wrong_bytes_are_refused_by_hash_and_nothing_is_written(
    tmp_path: Path, right: MovieLens
) -> None:
    def altered(_: Path) -> MovieLens:
        return MovieLens(right.events, right.items.replace(b"Drama", b"Comedy"))

    with pytest.raises(DataError, match="altered: the items have the hash"):
        get_movielens(tmp_path / "out", (altered,))
    assert not (tmp_path / "out").exists()
