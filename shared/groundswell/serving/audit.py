"""Writes who read the data of which user, as the pseudonym that the user is stored under."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import grpc

from groundswell.serving.access import caller_now
from groundswell.serving.around import Behaviour, Context
from groundswell.serving.errors import status_name
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id

_MAX_USERS = 256
"""Users that one line names at most: a stream writes several."""

_users_of_call: ContextVar[dict[str, None] | None] = ContextVar("users_of_call", default=None)


class AuditLog:
    """Adds a line of JSON for each call that reads the data of users, with its status."""

    def __init__(self, pseudonyms: Pseudonymizer, path: Path | None) -> None:
        """Write to a file, which may be moved away meanwhile, or to stdout. Raises OSError."""
        self._pseudonyms = pseudonyms
        if path is not None:
            # Whoever may not read the database may not read who was looked up in it.
            os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            self._handler: logging.Handler = WatchedFileHandler(path, encoding="utf-8")
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
                users.update(dict.fromkeys(_subjects(request)))
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
                "users": [self._pseudonyms.user_key(user).hex() for user in part],
                "status": status,
            }
            self._logger.info(json.dumps(line))


def _subjects(request: Any) -> Iterator[str]:
    """The users and sessions that a request names, or the requests within it."""
    fields = request.DESCRIPTOR.fields_by_name
    if "requests" in fields:
        for one in request.requests:
            yield from _subjects(one)
    elif "request" in fields:
        yield from _subjects(request.request)
    elif request.user_id or request.session_id:
        yield subject_id(request.user_id, request.session_id)
