"""The seam behind which pages are worked off: in a pool of processes, or on a cluster."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import pyarrow as pa

from groundswell.profile_service.rebuild.users import Counts


class PageResult(NamedTuple):
    """What was done with the users, or the items, of a page."""

    last: int
    """The last number of the page, of a user or an item."""
    counts: Counts


class PageEngine(Protocol):
    """Works off pages in other processes."""

    def run(self, pages: Iterable[pa.Table]) -> Iterator[PageResult]:
        """Yield the result of each page, in their order. Raises StartError."""
        ...


def page_results(result: pa.Table) -> Iterator[PageResult]:
    """Read the table that `PageWork` returned, of one page or of several."""
    for row in result.to_pylist():
        yield PageResult(row.pop("last"), Counts(**row))
