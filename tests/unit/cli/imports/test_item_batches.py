"""A catalogue's rows as items, in batches that one call can carry."""

from pathlib import Path

from groundswell.cli.imports.items import item_batches
from groundswell.logs.items import read_items


def test_a_row_becomes_an_item(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,categories,price,brand\ni1,One,a|b,2.5,acme\ni2,Two,,,\n")
    (batch,) = item_batches(read_items(path).frame)
    (_, first), (_, second) = batch
    assert (first.item_id, first.title, list(first.categories)) == ("i1", "One", ["a", "b"])
    assert first.attributes["price"].number == 2.5
    assert first.attributes["brand"].text == "acme"
    assert (second.item_id, list(second.categories), dict(second.attributes)) == ("i2", [], {})


def test_batches_hold_at_most_a_thousand(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n" + "".join(f"i{n},T\n" for n in range(2500)))
    batches = list(item_batches(read_items(path).frame))
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert [item.item_id for batch in batches for _, item in batch] == [
        f"i{n}" for n in range(2500)
    ]


def test_batches_of_long_texts_stay_below_the_limit_of_a_message(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    long = "x" * 19_000
    rows = "".join(f"i{n},T,{long}\n" for n in range(300))
    path.write_text("item_id,title,description\n" + rows)
    batches = list(item_batches(read_items(path).frame))
    assert sum(len(batch) for batch in batches) == 300
    assert max(sum(item.ByteSize() for _, item in batch) for batch in batches) < 4 * 1024 * 1024
