"""The rows of an event log, by the keys that the database stores its users under."""

from collections.abc import Sequence

from groundswell.cli.imports.event_rows import EventRows
from groundswell.profile_service.rebuild.log_histories import LogRow
from groundswell.serving.pseudonym import Pseudonymizer


class LogHistories:
    """Each user's rows, with the ids that an import of the same file gives them."""

    def __init__(self, rows: EventRows, pseudonyms: Pseudonymizer) -> None:
        self._rows = rows
        self.pseudonyms = pseudonyms
        self._places = {
            key: (first, length)
            for user_id, first, length in rows.users()
            for key in pseudonyms.user_keys(user_id)
        }

    def rows_of(self, keys: Sequence[bytes]) -> Sequence[Sequence[LogRow] | None]:
        """Return the rows of each user, by the user's key; None for those that the log lacks."""
        return [
            self._rows.plain(*self._places[key]) if key in self._places else None for key in keys
        ]
