"""Writes a synthetic log and catalogue in the shape of one use, such as a shop.

Usage: python docs/use/make_log.py USE FOLDER. It writes events.csv and items.csv into the folder,
in the form that `groundswell prepare` reads; the same use gives the same bytes. Exit code 2 for an
unknown use.
"""

import csv
import random
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

USES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("uses.toml").read_text(encoding="utf-8")
)
USERS, ITEMS_PER_CATEGORY, SESSIONS = 120, 30, (3, 7)
_ADJECTIVES = ("quiet", "golden", "last", "hidden", "crimson", "winter", "open", "first")
_FAVOURITES = (6, 3, 1, 1)
_START_S, _DAY_S = 1_760_000_000, 86_400


def catalogue(use: str) -> list[dict[str, object]]:
    """Return the items as rows of items.csv, those of a category one after another."""
    rng, shape = random.Random(f"{use} items"), USES[use]
    rows = []
    for category, nouns in shape["categories"].items():
        for number in range(ITEMS_PER_CATEGORY):
            words = {
                "category": category,
                "noun": nouns[number % len(nouns)],
                "adjective": _ADJECTIVES[(number // len(nouns)) % len(_ADJECTIVES)],
                "number": number + 1,
            }
            title = shape["titles"].format(**words)
            rows.append(
                {
                    "item_id": f"{use}-{category.lower()}-{number:02d}",
                    "title": title[0].upper() + title[1:],
                    "description": shape["descriptions"].format(**words),
                    "categories": category,
                    **{name: _one_of(rng, kind) for name, kind in shape["attributes"].items()},
                }
            )
    return rows


def _one_of(rng: random.Random, kind: list[Any]) -> object:
    """Draw a number of a range of two numbers, or one of some texts or truth values."""
    if type(kind[0]) is int:
        return rng.randint(*kind)
    return str(rng.choice(kind)).lower() if type(kind[0]) is bool else rng.choice(kind)


def events(use: str) -> Iterator[dict[str, object]]:
    """Yield the rows of events.csv, user by user: two favourite categories, and short sessions."""
    rng = random.Random(f"{use} events")
    shelves: dict[object, list[str]] = {}
    for row in catalogue(use):
        shelves.setdefault(row["categories"], []).append(str(row["item_id"]))
    for number in range(USERS):
        user, taste = f"user-{number:03d}", rng.sample(list(shelves.values()), len(shelves))
        time_s, seen, sent = _START_S + rng.randrange(10 * _DAY_S), list[str](), 0
        for session in range(rng.randint(*SESSIONS)):
            shelf = rng.choices(taste, _FAVOURITES)[0]
            item = rng.choice(shelf[:10])
            for _ in range(rng.randint(*USES[use]["visits"])):
                for action, value in _visit(rng, use):
                    time_s, sent = time_s + rng.randint(5, 120), sent + 1
                    yield {
                        "user_id": user,
                        "item_id": item,
                        "action": action,
                        "timestamp": time_s,
                        "value": value,
                        "session_id": f"{user}-{session}",
                        "event_id": f"{user}-{sent}",
                    }
                seen.append(item)
                item = _next_item(rng, use, shelf, seen)
            time_s += rng.randint(*(days * _DAY_S for days in USES[use]["pause_days"])) + 3_600


def _visit(rng: random.Random, use: str) -> Iterator[tuple[str, object]]:
    """Yield what a user does with one item, until they lose interest."""
    for action, share in USES[use]["actions"].items():
        if rng.random() > share:
            return
        scale = USES[use].get("value", {}).get(action)
        yield action, rng.randint(*scale) if scale else ""


def _next_item(rng: random.Random, use: str, shelf: list[str], seen: list[str]) -> str:
    """Return the one after it in order, one that was seen before, or a popular one."""
    drawn = rng.random()
    if drawn < USES[use]["follows"]:
        return dict(pairwise([*shelf, shelf[0]]))[seen[-1]] if seen[-1] in shelf else shelf[0]
    if drawn < USES[use]["follows"] + USES[use]["repeats"]:
        return rng.choice(seen)
    return shelf[min(int(rng.expovariate(0.2)), len(shelf) - 1)]


def write_log(use: str, folder: Path) -> None:
    """Write both files into a folder, which is made; the events in the order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "items.csv", catalogue(use))
    _write(folder / "events.csv", sorted(events(use), key=lambda row: str(row["timestamp"])))


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Write the log of the use that is named; return the exit code."""
    if len(sys.argv) != 3 or sys.argv[1] not in USES:
        sys.stderr.write(f"usage: make_log.py USE FOLDER, where USE is one of {', '.join(USES)}\n")
        return 2
    write_log(sys.argv[1], Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
