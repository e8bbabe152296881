"""The bundle that the bench serves, made once per run."""

import random
import shutil
from functools import cache
from pathlib import Path

from tests.support.bundles import tiny_bundle

_FOLDER = Path("build/bench/bundles")
_NUM_ITEMS = 1_700
_SEED = 5

_ADJECTIVES = """Quiet Burning Golden Lost Crimson Endless Broken Silver Hidden Last First Electric
    Paper Frozen Distant Wandering Secret Midnight Velvet Hollow"""
_NOUNS = """River Soldier Neighbour Winter Wedding Frontier Garden Harbour Detective Orchestra
    Planet Daughter Kingdom Lighthouse Highway Circus Letter Storm Mountain Carnival Teacher Railway
    Desert Island Shadow"""
_TAILS = (
    "",
    " Returns",
    " of the North",
    ": The Long Way Home",
    " and the Clockmaker's Daughter",
    " (Director's Cut)",
)
_CATEGORIES = ("comedy", "drama", "war")


@cache
def bench_items() -> list[tuple[str, str, tuple[str, ...]]]:
    """(item_id, title, categories) of a catalogue whose titles are as long as those of films."""
    rng = random.Random(_SEED)
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    return [
        (
            f"item-{n}",
            f"{rng.choice(adjectives)} {rng.choice(nouns)}{rng.choice(_TAILS)}",
            tuple(rng.sample(_CATEGORIES, rng.randint(1, 2))),
        )
        for n in range(_NUM_ITEMS)
    ]


@cache
def bench_bundle() -> Path:
    """Make the bundle and return its folder of bundles."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    tiny_bundle(_FOLDER, items=bench_items())
    return _FOLDER.resolve()
