"""Measures the suite's speed, prints a table and writes build/bench.json.

`python tests/bench/run.py [--only NAME]`: NAME is the beginning of the lines that are wanted, such
as "session" or "profile.encode".
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.bench.harness import Line

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "build" / "bench.json"

AREAS = {
    "session": "tests.bench.session",
    "session.windows": "tests.bench.session_windows",
    "session.record": "tests.bench.session_record",
    "session.overload": "tests.bench.session_overload",
    "session.cold_start": "tests.bench.session_cold_start",
    "session.memory": "tests.bench.session_memory",
    "profile.append": "tests.bench.profile_append",
    "profile.get": "tests.bench.profile_get",
    "profile.first": "tests.bench.profile_first",
    "profile.refresh": "tests.bench.profile_refresh",
    "profile.encode": "tests.bench.profile_encode",
    "profile.workers": "tests.bench.profile_workers",
    "profile.population": "tests.bench.profile_population",
    "profile.storage": "tests.bench.profile_storage",
    "ranker.recommend": "tests.bench.ranker",
    "ranker.large": "tests.bench.ranker_large",
    "ranker.observed": "tests.bench.ranker_observed",
    "ranker.secured": "tests.bench.ranker_secured",
    "ranker.index": "tests.bench.ranker_index",
    "ranker.filter": "tests.bench.ranker_filter",
    "ranker.hostile": "tests.bench.ranker_hostile",
    "ranker.similar": "tests.bench.ranker_similar",
    "ranker.batch": "tests.bench.ranker_batch",
    "ranker.upsert": "tests.bench.ranker_upsert",
    "ranker.memory": "tests.bench.ranker_memory",
    "ranker.swap": "tests.bench.ranker_swap",
    "suite": "tests.bench.suite",
    "suite.load": "tests.bench.load",
    "catalogue": "tests.bench.catalogue",
}
"""The modules whose `measure(folder)` gives the lines, by how the names of the lines begin."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="measure the suite's speed as ratios")
    parser.add_argument("--only", default="", metavar="NAME", help="the beginning of line names")
    only: str = parser.parse_args().only
    areas = [area for area in AREAS if area.startswith(only)]
    areas = areas or sorted(filter(only.startswith, AREAS), key=len)[-1:]
    if not areas:
        parser.error(f"nothing is called {only!r}; there are {', '.join(AREAS)}")
    # Before a library that starts threads is imported: one each, or they fight for the cores.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"), TOKENIZERS_PARALLELISM="false")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    console = Console()
    lines: list[Line] = []
    for area in areas:
        measure = importlib.import_module(AREAS[area]).measure
        with console.status(f"measuring {area}"), tempfile.TemporaryDirectory() as folder:
            lines += [line for line in measure(Path(folder)) if line.name.startswith(only)]
    console.print(_table(lines))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")
    console.print(f"written to {REPORT.relative_to(ROOT)}")


def _table(lines: "list[Line]") -> Table:
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("value", justify="right")
    for column in ("unit", "target", "holds"):
        table.add_column(column)
    for line in lines:
        target = "" if line.target is None else f"{line.target:g}"
        holds = "" if line.holds is None else ("yes" if line.holds else "NO")
        table.add_row(line.name, f"{line.value:.3f}", line.unit, target, holds)
    return table


if __name__ == "__main__":
    main()
