"""Names users and anonymous sessions by one kind of id, the subject id.

The subject id of a user is the user id. That of a session is its id after a NUL, which no id of the
contract holds, so the two are never the same.
"""

from typing import Protocol

from groundswell.serving.errors import InvalidArgument
from groundswell.serving.validation import check_session_id, check_user_id

_SESSION = "\0"


class SubjectFields(Protocol):
    """A message that names a user or an anonymous session."""

    user_id: str
    session_id: str


def is_session(subject_id: str) -> bool:
    """Whether a subject id names an anonymous session."""
    return subject_id.startswith(_SESSION)


def subject_id(user_id: str, session_id: str) -> str:
    """Return the id of a user, or of an anonymous session where there is no user."""
    return user_id or _SESSION + session_id


def read_subject(message: SubjectFields, field: str = "") -> str:
    """Read the id of the user or the anonymous session that a message names.

    `field` is the path of the message, with a dot at its end. Raises InvalidArgument
    (SUBJECT_INVALID: both; USER_ID_INVALID, also for neither; SESSION_ID_INVALID).
    """
    if message.user_id and message.session_id:
        both = f"{field}user_id and {field}session_id are both set"
        raise InvalidArgument("SUBJECT_INVALID", both, field=f"{field}user_id")
    if message.session_id:
        check_session_id(message.session_id, f"{field}session_id")
    else:
        check_user_id(message.user_id, f"{field}user_id")
    return subject_id(message.user_id, message.session_id)


def name_subject(message: SubjectFields, subject_id: str) -> None:
    """Write a subject into the fields of a message."""
    if is_session(subject_id):
        message.session_id = subject_id[1:]
    else:
        message.user_id = subject_id
