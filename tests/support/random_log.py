"""A random log over the items of a tiny bundle, prepared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from tests.support.bundles import ITEMS

USERS = 40


def random_log(
    folder: Path,
    items: Sequence[tuple[str, str, tuple[str, ...]]],
    *,
    split: Split = Split.LEAVE_ONE_OUT,
    positions: bool = False,
    options: Options | None = None,
) -> Prepared:
    """A random log over the first items of a tiny bundle; the last of `items` have no event."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(USERS):
        time = 1_700_000_000 + int(rng.integers(40_000))
        for n in range(int(rng.integers(3, 35))):
            time += int(rng.choice([40, 4_000], p=[0.8, 0.2]))
            item = ITEMS[int(rng.integers(len(ITEMS) - 2))][0]
            rows.append(f"u{user},{item},{rng.choice(['view', 'like'])},{n if positions else time}")
    events, catalogue = folder / "events.csv", folder / "items.csv"
    events.write_text("\n".join(["user_id,item_id,action,timestamp", *rows]))
    lines = [f"{item_id},{title},{'|'.join(names)}" for item_id, title, names in items]
    catalogue.write_text("\n".join(["item_id,title,categories", *lines]))
    prepare(events, catalogue, folder / "prepared", split=split, options=options)
    return load_prepared(folder / "prepared")
