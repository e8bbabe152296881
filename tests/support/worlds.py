"""A deterministic synthetic world: a log with long-term tastes and short sessions to learn from.

Items belong to categories and stand in a fixed order inside of them. A user has two favourite
categories (the long-term taste). Each session picks one category, mostly a favourite, and walks
through it: often to the item that comes next in order (what the short term can learn), else to a
popular one. Nobody meets an item twice, unless a category is used up.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.splits import Split

VOCABULARY = {
    "Space": ("Rocket", "Comet", "Orbit", "Astronaut", "Nebula", "Moon", "Galaxy", "Probe"),
    "Cooking": ("Kitchen", "Recipe", "Oven", "Spice", "Noodle", "Bakery", "Chef", "Supper"),
    "Gardening": ("Garden", "Rose", "Orchard", "Seed", "Meadow", "Greenhouse", "Ivy", "Harvest"),
    "Sailing": ("Harbour", "Schooner", "Anchor", "Captain", "Tide", "Lighthouse", "Reef", "Sail"),
    "Music": ("Trumpet", "Melody", "Choir", "Piano", "Concert", "Fiddle", "Opera", "Drummer"),
    "Crime": ("Detective", "Alibi", "Burglar", "Witness", "Verdict", "Clue", "Heist", "Judge"),
    "Mountains": ("Summit", "Glacier", "Climber", "Ridge", "Avalanche", "Cabin", "Rope", "Peak"),
    "Trains": ("Railway", "Engine", "Station", "Signal", "Tunnel", "Express", "Porter", "Wagon"),
}
_ADJECTIVES = ("Silent", "Golden", "Last", "Hidden", "Crimson", "Lonely", "Broken", "Winter")
_PLACES = ("Prague", "Lisbon", "Bergen", "Kyoto", "Quito", "Cairo", "Dublin", "Perth")
_ACTIONS = ("view", "click", "like", "purchase", "rate", "dislike")
_ACTION_SHARES = (0.4, 0.2, 0.15, 0.1, 0.1, 0.05)
_FAVOURITES = (0.5, 0.3)
_NEXT_IN_ORDER = 0.6
_SECOND_CATEGORY = 0.25
_START_S = 1_700_000_000
_DAY_S = 86_400


_Event = tuple[str, str, str, int, int | str]


class World(NamedTuple):
    """The files of a world, in the form that `prepare` reads."""

    events: Path
    items: Path


def synthetic_world(
    folder: Path,
    *,
    seed: int = 0,
    users: int = 150,
    items: int = 160,
    categories: int = 5,
    sessions: int = 6,
) -> World:
    """Write events.csv and items.csv into `folder`; the same arguments give the same bytes.

    A user has `sessions` sessions of three to seven events about four days apart, and 20 to
    40 events with the defaults. Events are in the order of time over all users. At most as many
    categories as `VOCABULARY` has.
    """
    rng = np.random.default_rng(seed)
    names = list(VOCABULARY)[:categories]
    category_I = np.arange(items) % categories
    events = [
        event
        for user in range(users)
        for event in _history(rng, f"user-{user:04d}", category_I, categories, sessions)
    ]
    events.sort(key=lambda event: event[3])
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder / "events.csv", folder / "items.csv")
    write_csv(world.events, ("user_id", "item_id", "action", "timestamp", "value"), events)
    header = ("item_id", "title", "categories", "price")
    write_csv(world.items, header, _catalogue(rng, names, category_I))
    return world


def item_name(item: int) -> str:
    """The id of an item by its number."""
    return f"item-{item:04d}"


def _catalogue(
    rng: np.random.Generator, names: list[str], category_I: np.ndarray
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for item, category in enumerate(category_I):
        number = item // len(names)
        nouns = VOCABULARY[names[category]]
        title = (
            f"The {_ADJECTIVES[number % 8]} {nouns[(number * 3 + number // 8) % 8]}"
            f" of {_PLACES[(number // 8) % 8]}"
        )
        listed = [names[category]]
        if len(names) > 1 and rng.random() < _SECOND_CATEGORY:
            listed.append(names[(category + 1) % len(names)])
        rows.append((item_name(item), title, "|".join(listed), round(5 + 40 * rng.random(), 2)))
    return rows


def _history(
    rng: np.random.Generator, user: str, category_I: np.ndarray, categories: int, sessions: int
) -> list[_Event]:
    taste_C = np.full(categories, (1 - sum(_FAVOURITES)) / categories)
    favourites = rng.permutation(categories)[: len(_FAVOURITES)]
    taste_C[favourites] += np.array(_FAVOURITES)[: len(favourites)]
    taste_C /= taste_C.sum()
    seen: set[int] = set()
    events: list[_Event] = []
    time_s = _START_S + int(rng.integers(10 * _DAY_S))
    for _ in range(sessions):
        shelf = np.flatnonzero(category_I == rng.choice(categories, p=taste_C))
        place = -1
        for _ in range(int(rng.integers(3, 8))):
            place = _next_place(rng, shelf, place, seen)
            seen.add(int(shelf[place]))
            action = str(rng.choice(_ACTIONS, p=_ACTION_SHARES))
            value = int(rng.integers(1, 6)) if action == "rate" else ""
            events.append((user, item_name(int(shelf[place])), action, time_s, value))
            time_s += int(rng.integers(20, 300))
        time_s += int(rng.integers(2 * _DAY_S, 6 * _DAY_S))
    return events


def _next_place(rng: np.random.Generator, shelf: np.ndarray, place: int, seen: set[int]) -> int:
    """Go on to the next item in order, or to a popular one (earlier on the shelf is likelier)."""
    if place >= 0 and rng.random() < _NEXT_IN_ORDER:
        following = (place + 1) % len(shelf)
        if int(shelf[following]) not in seen:
            return following
    weights = 1 / np.arange(2, len(shelf) + 2)
    unseen = np.array([int(item) not in seen for item in shelf])
    weights = weights * unseen if unseen.any() else weights
    return int(rng.choice(len(shelf), p=weights / weights.sum()))


def write_csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def prepared_world(
    folder: Path,
    *,
    seed: int = 0,
    users: int = 40,
    items: int = 40,
    split: Split = Split.LEAVE_ONE_OUT,
) -> Path:
    """Write a world of four categories to `folder`, prepare it, and return where that lies."""
    world = synthetic_world(folder, seed=seed, users=users, items=items, categories=4)
    prepare(world.events, world.items, folder / "prepared", split=split)
    return folder / "prepared"
