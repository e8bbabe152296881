"""Finds ids that differ from known ids only in how they are written."""

from typing import NamedTuple

import polars as pl

_FLOAT = r"^(-?\d+)\.0+$"
_ZEROS = r"^0+(\d)"
_INVISIBLE = r"[\p{Cf}\p{White_Space}]+"


class Alike(NamedTuple):
    """Ids that differ from known ones by one cause."""

    cause: str
    num_ids: int
    example: str
    known: str
    """The known id that the example looks like."""

    def __str__(self) -> str:
        return (
            f"{self.num_ids:,}, such as {self.example!a} for {self.known!a}: they differ by "
            f"{self.cause}"
        )


def _causes() -> dict[str, pl.Expr]:
    """By cause, a form in which such ids are equal; the first form that fits gives the cause."""
    text = pl.col("id")
    form = text.str.normalize("NFKC")
    whole = text.str.replace(_FLOAT, "$1")
    return {
        "a fraction of zeros": whole,
        "zeros in front": whole.str.replace(_ZEROS, "$1"),
        "their Unicode form": form,
        "capital letters": form.str.to_lowercase(),
        "blanks or invisible characters": form.str.to_lowercase().str.replace_all(_INVISIBLE, ""),
    }


def find_alike(unknown: pl.Series, known: pl.Series) -> list[Alike]:
    """Count the unknown ids that differ from a known id only in how they are written, by cause."""
    rest = pl.DataFrame({"id": unknown.unique(maintain_order=True)})
    catalogue = pl.DataFrame({"id": known})
    found = []
    for cause, form in _causes().items():
        if rest.height == 0:
            break
        keys = catalogue.select(form.alias("key"), pl.col("id").alias("known"))
        keys = keys.unique("key", keep="first", maintain_order=True)
        rest = rest.with_columns(key=form)
        rest = rest.join(keys, on="key", how="left", maintain_order="left")
        matched = rest.drop_nulls("known")
        if matched.height:
            example = matched.row(0, named=True)
            found.append(Alike(cause, matched.height, example["id"], example["known"]))
        rest = rest.filter(pl.col("known").is_null()).select("id")
    return found


def alike_users(user_ids: pl.Series) -> list[Alike]:
    """Count the ids of one log that differ only in how a number or a Unicode text is written."""
    table = pl.DataFrame({"id": user_ids.unique(maintain_order=True)})
    found = []
    for cause in ("a fraction of zeros", "their Unicode form"):
        form = _causes()[cause]
        groups = table.with_columns(key=form).filter(pl.col("key") != pl.col("id"))
        known = table.rename({"id": "known"})
        pairs = groups.join(known, left_on="key", right_on="known", how="semi")
        if pairs.height:
            found.append(Alike(cause, pairs.height, pairs["id"][0], pairs["key"][0]))
    return found
