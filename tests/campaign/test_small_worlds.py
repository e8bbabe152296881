"""Every setting at its limits, and every odd log, trains and serves, or is refused before."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from groundswell.artifacts.store import BundleStore
from groundswell.cli.suite.deployment import free_ports
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.evaluation.report.page import write_page
from groundswell.trainer.train import train
from tests.support.cli import Up
from tests.support.worlds import prepared_world

QUICK = (
    *("dimension=8", "width=8", "window_length=6", "chunk_length=4", "max_chunks=4"),
    *("num_blocks=1", "max_epochs=1", "precision=float32"),
)
SMALLEST = (
    *("dimension=4", "width=1", "num_heads=1", "window_length=1", "recent_length=1"),
    *("chunk_length=1", "max_chunks=1", "gate_width=1", "dropout=0.999", "max_positions=1"),
)
SETTINGS = [
    *((f"window_length={n}",) for n in (1, 2, 3, 1_000)),
    *((f"recent_length={n}",) for n in (1, 2, 256)),
    *((f"max_chunks={n}",) for n in (1, 2)),
    *((f"chunk_length={n}",) for n in (1, 1_000)),
    *((f"max_tokens={n}",) for n in (8, 512)),
    ("dimension=4",),
    ("width=1", "num_heads=1"),
    ("width=8", "num_heads=8"),
    ("num_blocks=4",),
    *((f"profile_blocks={n}",) for n in (0, 4)),
    *(
        (f"{name}={value}",)
        for name in (
            "dropout",
            "id_dropout",
            "event_dropout",
            "history_dropout",
            "chunk_dropout",
            "text_dropout",
        )
        for value in (0, 0.999)
    ),
    *((f"long_stale={n}",) for n in (0, 0.999)),
    ("long_horizon=1",),
    *((f"ema={n}",) for n in (0, 0.9999)),
    *((f"warmup_steps={n}",) for n in (0, 100_000)),
    *((f"batch_windows={n}",) for n in (1, 100_000)),
    ("epochs=1",),
    ("patience=1",),
    ("negatives=1",),
    *((f"gate={kind}",) for kind in ("scalar", "per-dimension", "constant")),
    ("gate_width=1",),
    ("max_positions=1",),
    ("learning_rate=1e-30",),
    ("precision=bfloat16",),
    SMALLEST,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return load_prepared(prepared_world(tmp_path_factory.mktemp("world"), users=24, items=24))


def trained(prepared: Prepared, bundles: Path, *settings: str) -> str:
    config = parse_config([*QUICK, *settings])
    return train(prepared, bundles, config, "cpu", 0, Console(quiet=True))


@pytest.mark.parametrize("settings", SETTINGS, ids=",".join)
def test_a_setting_at_its_limit(world: Prepared, tmp_path: Path, settings: Sequence[str]) -> None:
    bundle = BundleStore(tmp_path).load(trained(world, tmp_path, *settings))
    figures = evaluate(bundle, world)
    write_page(tmp_path / "report", figures, bundle, world)


def test_the_smallest_bundle_serves(world: Prepared, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    trained(world, bundles, *SMALLEST)
    (tmp_path / "items.csv").write_text("item_id,title\nitem-0001,One\nitem-0002,Two\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,action,timestamp\n" + "anna,item-0001,click,1700000000\n" * 3
    )
    with Up(bundles, tmp_path, free_ports()) as up:
        up.wait_ready()
        for kind in ("items", "events"):
            assert up.call(kind, "import", str(tmp_path / f"{kind}.csv")).returncode == 0
        recommended = up.call("recommend", "anna")
        assert recommended.returncode == 0
        assert "item-0002" in recommended.stdout


def events(users: int, each: int, items: int, action: str = "click", gap_s: int = 60) -> str:
    rows = [
        f"u{user},i{(user + n) % items},{action},{1_700_000_000 + user * 7 + n * gap_s}\n"
        for user in range(users)
        for n in range(each)
    ]
    return "user_id,item_id,action,timestamp\n" + "".join(rows)


def catalogue(items: int, categories: int = 2, titles: bool = True) -> str:
    rows = [
        f"i{n},{f'Title {n}' if titles else ''},{f'c{n % categories}' if categories else ''}\n"
        for n in range(items)
    ]
    return "item_id,title,categories\n" + "".join(rows)


LOO, NEXT = Split.LEAVE_ONE_OUT, Split.NEXT_SESSION
LOGS = {
    "three events each": (events(12, 3, 8), catalogue(8), LOO, ()),
    "three events each, by time": (events(12, 3, 8), catalogue(8), Split.TEMPORAL, ()),
    "one event each": (events(12, 1, 8), catalogue(8), LOO, ()),
    "one event each, by time": (events(12, 1, 8), catalogue(8), Split.TEMPORAL, ()),
    "one event each, no split": (events(12, 1, 8), catalogue(8), Split.NONE, ()),
    "one session each": (events(12, 6, 8), catalogue(8), NEXT, ()),
    "a session an event": (events(12, 6, 8, gap_s=9_000), catalogue(8), NEXT, ()),
    "one item": (events(6, 5, 1), catalogue(1), LOO, ()),
    "two items": (events(6, 5, 2), catalogue(2), LOO, ()),
    "one user": (events(1, 12, 8), catalogue(8), LOO, ()),
    "one event": (events(1, 1, 1), catalogue(1), Split.NONE, ()),
    "two events": (events(1, 2, 2), catalogue(2), Split.NONE, ()),
    "no categories": (events(12, 6, 8), catalogue(8, 0), LOO, ()),
    "one category": (events(12, 6, 8), catalogue(8, 1), LOO, ()),
    "no titles": (events(12, 6, 8), catalogue(8, 0, titles=False), LOO, ()),
    "a catalogue that knows none of the items": (
        events(12, 6, 8),
        "item_id,title\nx,Any\n",
        LOO,
        (),
    ),
    "more items than anyone used": (events(12, 6, 2), catalogue(500), LOO, ()),
    "dislikes alone": (events(12, 6, 8, "dislike"), catalogue(8), LOO, ()),
    "one time": (events(12, 6, 8, gap_s=0), catalogue(8), LOO, ()),
    "texts of a few words": (
        events(12, 6, 8),
        catalogue(8),
        LOO,
        ("text_encoder.pretrain=mlm", "text_encoder.steps=1"),
    ),
    "three events to fine-tune by": (
        events(12, 3, 8),
        catalogue(8),
        LOO,
        ("text_encoder.finetune=lora", "text_encoder.finetune_steps=1"),
    ),
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("cold", [0.0, 0.5, 0.99])
def test_a_log_trains_or_is_refused_before_it(tmp_path: Path, name: str, cold: float) -> None:
    log, items, split, settings = LOGS[name]
    (tmp_path / "events.csv").write_text(log)
    (tmp_path / "items.csv").write_text(items)
    try:
        prepare(
            tmp_path / "events.csv",
            tmp_path / "items.csv",
            tmp_path / "prepared",
            split=split,
            options=Options(cold_items=cold),
        )
        prepared = load_prepared(tmp_path / "prepared")
        bundle = BundleStore(tmp_path / "b").load(trained(prepared, tmp_path / "b", *settings))
    except DataError as error:
        # Nothing was trained: an epoch leaves its checkpoint.
        assert not list((tmp_path / "b").glob(".checkpoint*")), error
        return
    try:
        write_page(tmp_path / "report", evaluate(bundle, prepared), bundle, prepared)
    except DataError as error:
        assert "target" in str(error)
