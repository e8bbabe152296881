"""The lines "ranker.hostile": 10,000 texts that are almost filters, or attacks, one at a time."""

import gc
import random
import time
from pathlib import Path

import polars as pl

from groundswell.ranker_service.filters import BUILT_IN, DTYPES, Kind, parse_filter, passing_rows
from groundswell.serving.errors import InvalidArgument
from tests.bench.harness import Line

_NUM_TEXTS = 10_000
_LONGEST = 2_100
_SEED = 17
_KINDS = {**BUILT_IN, "price": Kind.NUMBER, "brand": Kind.TEXT, "sold_out": Kind.FLAG}
_NUM_ROWS = 1_000
_FILTER = "price < 20 AND NOT sold_out OR brand IN ( 'a' , 'b' ) AND price BETWEEN 1 AND 2.5e3"
_PIECES = r"""
AND OR NOT IN BETWEEN IS NULL CASE WHEN END CAST ( ) , ; -- /* */ :: . [ ] { } @ ? $$ - + || ' " `
\ NaN 1e400 0x1F x'zz' LIKE => <=> EXISTS UNNEST * / % # ^ ~ & | \x00 ( ( ( NOT NOT NOT
read_csv('MARK') read_parquet('MARK') COPY INTO 'MARK' ATTACH SELECT * FROM __import__('os')
open('MARK','w') price brand 20 'b' < = AND OR NOT {{7*7}} ${MARK}
pl.col('price') array_contains(categories,'x') DROP TABLE items
"""


def measure(folder: Path) -> list[Line]:
    """Measure what the slowest text takes of a core, and count what became anything but a filter.

    A text that passes reads declared columns and nothing else; a file that texts name stays away.
    """
    mark = folder / "mark"
    rng, frame = random.Random(_SEED), _frame()
    words = _PIECES.replace("MARK", str(mark)).split()
    gc.freeze()  # as servers do
    slowest_s, num_filters, num_wrong = 0.0, 0, 0
    for _ in range(_NUM_TEXTS):
        text = _text(rng, words)
        started = time.thread_time()
        try:
            parsed = parse_filter(text, _KINDS)
            num_wrong += not set(parsed.expression.meta.root_names()) <= _KINDS.keys()
            num_wrong += len(passing_rows(frame, parsed)) != _NUM_ROWS
            num_filters += 1
        except InvalidArgument as error:
            num_wrong += error.reason != "FILTER_INVALID"
        slowest_s = max(slowest_s, time.thread_time() - started)
    num_wrong += mark.exists()
    return [
        Line(
            "ranker.hostile", slowest_s * 1e3, f"ms of a core, of {_NUM_TEXTS:,} the slowest"
        ).at_most(50),
        Line(
            "ranker.hostile.evaluated",
            num_wrong,
            f"as anything but a filter; {num_filters:,} were filters",
        ).at_most(0),
    ]


def _frame() -> pl.DataFrame:
    columns: dict[str, list[object]] = {
        "price": [5.0],
        "brand": ["a"],
        "sold_out": [False],
        "categories": [["x"]],
    }
    return pl.DataFrame(
        [
            pl.Series(name, values * _NUM_ROWS, dtype=DTYPES[_KINDS[name]])
            for name, values in columns.items()
        ]
    )


def _text(rng: random.Random, words: list[str]) -> str:
    """Make a filter with some of its words replaced, or any words, of up to too many characters."""
    if rng.random() < 0.5:
        chosen = _FILTER.split(" ")
        for _ in range(rng.randint(1, 4)):
            chosen[rng.randrange(len(chosen))] = rng.choice(words)
    else:
        chosen = rng.choices(words, k=rng.choice((3, 30, 300)))
    return rng.choice(("", " ")).join(chosen)[:_LONGEST]
