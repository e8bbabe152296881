"""Trains this project's models and RecTools' on one split, one after the other, and compares them.

`make bench-peers` makes RecTools' environment and runs this; without `--data`, on MovieLens-100k.
Both clocks run from the start of training, with the log loaded, and count the validation after
every epoch; ours counts the encoding of texts too, which starts with an empty cache: of items
before both encoders are trained, of histories before the profile is trained on.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from tests.bench.peers.report import Round

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "peers"

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MAX_EPOCHS = 200
_COMMAND_TIMEOUT_S = 600.0


def main() -> None:
    """Compare, print, write."""
    options = _options()
    _pin(options.threads)
    sys.path.insert(0, str(ROOT))
    from tests.bench.peers import report

    console = Console()
    data = _movielens() if options.data is None else options.data
    rounds: list[Round] = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(_round(data, Path(folder), seed, options))
        # After every seed: a long run that is stopped leaves what it has found.
        found = {"data": str(data), "threads": options.threads, **report.figures(rounds)}
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(json.dumps(found, indent=2) + "\n")
    title = f"{data.name}, {options.threads} threads, seeds {options.seeds}"
    console.print(report.table(rounds, title))
    console.print(report.headline(rounds))
    console.print(f"written to {options.report}")


def _options() -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description="compare with RecTools, in one run")
    parser.add_argument("--data", type=Path, help="what `groundswell prepare` wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=cores, help="of either side")
    parser.add_argument(
        "--peers", nargs="*", default=["bert4rec", "esasrec"], help="of RecTools, beside its SASRec"
    )
    parser.add_argument(
        "--max-epochs",
        type=int,
        help=f"of any model; else our default, and {_MAX_EPOCHS} of RecTools",
    )
    parser.add_argument("--patience", type=int, default=20, help="epochs, of RecTools")
    parser.add_argument("--max-minutes", type=float, default=60, help="of training, by model")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of our training"
    )
    parser.add_argument(
        "--peer-set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="a parameter of RecTools' models; else ours where they have it",
    )
    parser.add_argument("--report", type=Path, default=BUILD / "report.json")
    options = parser.parse_args()
    for name in ("data", "report"):
        path = getattr(options, name)
        setattr(options, name, path and path.resolve())
    return options


def _pin(threads: int) -> None:
    """Give everything that follows so many threads and cores, and no more."""
    os.environ.update(
        dict.fromkeys(_THREAD_VARIABLES, str(threads)), TOKENIZERS_PARALLELISM="false"
    )
    # A library that counts the machine's cores by itself gains nothing by it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _movielens() -> Path:
    from tests.bench.peers.ours import groundswell

    files, prepared = BUILD / "ml-100k" / "data", BUILD / "ml-100k" / "prepared"
    events, items = files / "events.csv", files / "items.csv"
    if not (events.exists() and items.exists()):
        groundswell("data", "ml-100k", "--out", files, timeout_s=_COMMAND_TIMEOUT_S)
    arguments = ("--events", events, "--items", items, "--out", prepared)
    groundswell("prepare", *arguments, timeout_s=_COMMAND_TIMEOUT_S)
    return prepared


def _round(data: Path, folder: Path, seed: int, options: argparse.Namespace) -> "Round":
    from groundswell.trainer.dataset.prepared import load_prepared
    from tests.bench.peers import peer, split
    from tests.bench.peers.ours import train_and_evaluate
    from tests.bench.peers.report import Round

    max_seconds = options.max_minutes * 60
    epochs = [] if options.max_epochs is None else [f"max_epochs={options.max_epochs}"]
    ours = train_and_evaluate(data, folder, seed, [*epochs, *options.set], max_seconds)
    job = split.job(load_prepared(data))
    if ours.figures["targets"] != len(job["test"]):
        raise RuntimeError(f"we rank {ours.figures['targets']} targets, they {len(job['test'])}")
    bounds = peer.Bounds(
        options.max_epochs or _MAX_EPOCHS, options.patience, max_seconds, options.threads
    )
    changes = dict(_parameter(text) for text in options.peer_set)
    peers = {}
    for name in (peer.RIVAL, *options.peers):
        settings = peer.settings_of(name, ours, changes)
        peers[name] = peer.train(name, job, settings, bounds, folder, seed)
    return Round(seed, ours, peers)


def _parameter(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


if __name__ == "__main__":
    main()
