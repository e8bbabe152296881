"""Keeps which bundle the ranker withdrew, so that it does not begin with it after a restart."""

from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.pointer import CURRENT
from groundswell.artifacts.small_files import replace_text
from groundswell.artifacts.store import BundleStore
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

WITHDRAWN = "withdrawn.json"


class Withdrawal(BaseModel):
    """A bundle that answered badly, and the one that ranks in its place."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: str
    problem: str
    ranks: str
    pointer_ns: int
    """When `current` was written, in nanoseconds since 1970; a later write ends the withdrawal."""


class Withdrawals:
    """Reads and writes one file, by default beside the pointer, for all rankers of the folder."""

    def __init__(self, store: BundleStore, file: Path | None) -> None:
        self._store = store
        self._file = file or store.root / WITHDRAWN

    def keep(self, bundle_id: str, problem: str, ranks: str) -> None:
        """Keep that a bundle was withdrawn, unless `current` names another one by now."""
        try:
            pointer_ns = self._pointer_ns()
            if self._store.current() != bundle_id:
                return
            kept = Withdrawal(bundle=bundle_id, problem=problem, ranks=ranks, pointer_ns=pointer_ns)
            replace_text(self._file, kept.model_dump_json() + "\n")
        except (OSError, BundleError) as error:
            count("withdrawals_not_kept")
            _log.error("withdrawal_not_kept", file=str(self._file), problem=str(error))

    def of(self, bundle_id: str) -> Withdrawal | None:
        """Return the withdrawal of a bundle, while the bundle that ranks in its place is there."""
        try:
            kept = Withdrawal.model_validate_json(self._file.read_bytes())
            if (kept.bundle, kept.pointer_ns) != (bundle_id, self._pointer_ns()):
                return None
            self._store.check(kept.ranks)
        except FileNotFoundError:
            return None
        except (OSError, BundleError, ValidationError) as error:
            _log.error("withdrawal_not_used", file=str(self._file), problem=str(error))
            return None
        return kept

    def _pointer_ns(self) -> int:
        return (self._store.root / CURRENT).lstat().st_mtime_ns
