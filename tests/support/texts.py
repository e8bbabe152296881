"""Short texts in a made-up use of Chinese characters, each category with characters of its own."""

from pathlib import Path

import numpy as np

from tests.support.worlds import World, write_csv

_FIRST = 0x4E00
_OWN = 12
_COMMON = 6
_LENGTH = 10


def captions(number: int, categories: int) -> list[str]:
    """Return texts; text x is of category x % categories, and a third of it says nothing."""
    rng = np.random.default_rng(0)
    common = [chr(_FIRST + number) for number in range(_COMMON)]
    texts = []
    for text in range(number):
        start = _FIRST + _COMMON + text % categories * _OWN
        own = [chr(start + place) for place in range(_OWN)]
        drawn = [str(rng.choice(common if rng.random() < 1 / 3 else own)) for _ in range(_LENGTH)]
        texts.append("".join(drawn))
    return texts


def caption_world(folder: Path, items: int = 40) -> World:
    """Write events.csv and items.csv; each user stays within one category."""
    categories, users, events = 4, 20, 12
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    world = World(folder / "events.csv", folder / "items.csv")
    rows = [
        (f"u{user}", f"i{item}", "view", 1_700_000_000 + 60 * place)
        for user in range(users)
        for place, item in enumerate(
            (
                rng.integers(items // categories, size=events) * categories + user % categories
            ).tolist()
        )
    ]
    write_csv(world.events, ("user_id", "item_id", "action", "timestamp"), rows)
    catalogue = [
        (f"i{number}", text, f"c{number % categories}")
        for number, text in enumerate(captions(items, categories))
    ]
    write_csv(world.items, ("item_id", "title", "categories"), catalogue)
    return world
