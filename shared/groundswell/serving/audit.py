"""Writes who read the data of which user, by a mark from which no pseudonym is found."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

import grpc

from groundswell.serving.access import caller_now
from groundswell.serving.around import Behaviour, Context
from groundswell.serving.errors import status_name
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id

_MAX_USERS = 256
"""Users of one line at most, and of one request: the largest batch that a method takes."""

_users_of_call: ContextVar[dict[str, None] | None] = ContextVar("users_of_call", default=None)


class _PrivateFile(WatchedFileHandler):
    """A log of its owner alone: who may not read the database may not read of whom it tells."""

    def _open(self) -> TextIO:  # type: ignore[override] # opened to append, which is all that is done
        opened = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return os.fdopen(opened, "a", encoding=self.encoding)


class AuditLog:
    """Adds a line of JSON for each call that reads the data of users, with its status."""

    def __init__(self, pseudonyms: Pseudonymizer, path: Path | None) -> None:
        """Write to a file, which may be moved away meanwhile, or to stdout. Raises OSError."""
        self._pseudonyms = pseudonyms
        if path is not None:
            self._handler: logging.Handler = _PrivateFile(path, encoding="utf-8")
        else:
            self._handler = logging.StreamHandler(sys.stdout)
        self._logger = logging.Logger("groundswell.audit")
        self._logger.addHandler(self._handler)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def reading(self, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """Return what reads a request, and notes the users whom it names."""

        def read(sent: bytes) -> Any:
            request = deserialize(sent)
            users = _users_of_call.get()
            if users is not None:
                # A request that names more is refused: no method takes so many.
                users.update(dict.fromkeys(islice(subjects_of(request), _MAX_USERS)))
            return request

        return read

    def around(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Return what answers a call, and writes the users whom its requests named."""

        async def answer(request: object, context: Context) -> object:
            users: dict[str, None] = {}
            _users_of_call.set(users)
            status = grpc.StatusCode.OK.name
            try:
                return await behaviour(request, context)
            except BaseException as error:
                status = status_name(error, context)
                raise
            finally:
                self._write(method, list(users), status)

        return answer

    def _write(self, method: str, users: list[str], status: str) -> None:
        caller = caller_now.get()
        for first in range(0, len(users), _MAX_USERS):
            part = users[first : first + _MAX_USERS]
            line: dict[str, Any] = {
                "time": datetime.now(UTC).isoformat(),
                "who": None if caller is None else caller.subject,
                "method": method[1:],
                "users": [self._pseudonyms.mark(user).hex() for user in part],
                "status": status,
            }
            self._logger.info(json.dumps(line))


def subjects_of(request: Any) -> Iterator[str]:
    """The users and sessions that a request names, or the requests within it; there may be none."""
    fields = request.DESCRIPTOR.fields_by_name
    if "requests" in fields:
        for one in request.requests:
            yield from subjects_of(one)
    elif "request" in fields:
        yield from subjects_of(request.request)
    else:
        user_id, session_id = (getattr(request, name, "") for name in ("user_id", "session_id"))
        if user_id or session_id:
            yield subject_id(user_id, session_id)
