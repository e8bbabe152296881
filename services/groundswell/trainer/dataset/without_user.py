"""Takes one user out of a log file, or out of a folder that `prepare` wrote."""

import json
import shutil
from pathlib import Path

import polars as pl

from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.replacing import replacing
from groundswell.trainer.errors import DataError

_USER = "user_id"


def take_out(place: Path, user_id: str) -> int:
    """Rewrite a log or a prepared folder without a user; return how many events that were.

    A reader finds the old content or the new one, with the same mode; behind a link the file itself
    is rewritten. A prepared folder loses its cache of encoded
    texts, which may hold texts of the user's history; it is made again when it is needed. Raises
    DataError for something else, for a log without a column `user_id` of texts or integers, and for
    one that was written meanwhile.
    """
    place = place.resolve()
    if place.is_dir():
        return _from_prepared(place, user_id)
    before = place.stat()
    if place.suffix == ".parquet":
        log = pl.read_parquet(place.absolute(), glob=False)
    elif place.suffix == ".csv":
        log = pl.read_csv(place.absolute(), infer_schema=False, glob=False)
    else:
        raise DataError(f"{place} is neither .parquet nor .csv, nor a prepared folder")
    if _USER not in log.columns:
        raise DataError(f"{place} has no column {_USER}: take the user out by hand")
    if not (log.schema[_USER] == pl.String or log.schema[_USER].is_integer()):
        raise DataError(f"{place}: its {_USER} are {log.schema[_USER]}, neither texts nor integers")
    rest = log.filter(pl.col(_USER).cast(pl.String).ne_missing(user_id))
    if rest.height < log.height:
        making = place.with_name(f".{place.name}.new")
        # Before it holds anything.
        making.touch(mode=0o600)
        shutil.copymode(place, making)
        write = rest.write_parquet if place.suffix == ".parquet" else rest.write_csv
        write(making)
        now = place.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            making.unlink()
            raise DataError(f"{place} was written meanwhile: run it again when nobody writes it")
        making.replace(place)
    return log.height - rest.height


def _from_prepared(folder: Path, user_id: str) -> int:
    prepared = data.load_prepared(folder)
    if user_id not in prepared.user_ids:
        return 0
    number = prepared.user_ids.index(user_id)
    events = pl.read_parquet((folder / data.EVENTS).absolute(), glob=False)
    others = pl.col("user") != number
    rest = events.filter(others).with_columns(user=pl.col("user") - (pl.col("user") > number))
    rest = rest.cast({"user": events.schema["user"]})
    users = pl.DataFrame({_USER: [one for one in prepared.user_ids if one != user_id]})
    sizes = {"num_users": users.height, "num_events": rest.height}
    with replacing(folder, (data.RUNS,)) as new:
        rest.write_parquet(new / data.EVENTS)
        users.write_parquet(new / data.USERS)
        (new / data.META).write_text(
            json.dumps(prepared.meta | sizes, indent=2, ensure_ascii=False), encoding="utf-8"
        )
        for name in (data.ITEMS, data.LEFT_OUT, data.PICTURE):
            if (folder / name).exists():
                shutil.copy2(folder / name, new / name)
    return events.height - rest.height
