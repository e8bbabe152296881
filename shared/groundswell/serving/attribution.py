"""Attribution tokens: they tell which answer an event came from, and how that answer was made.

A token is the id of the recommendation, a dot, and the rest in base64: bundle, variant and fusion
weight of the answer, what else it was made of, and a check that only the deployment's secret gives.
It says nothing about the user.
"""

import binascii
import hashlib
import hmac
import math
import os
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import IntEnum
from typing import NamedTuple

from groundswell.serving.errors import InvalidArgument

_FORM, _EARLIER_FORMS = 3, (1, 2)
"""The number of the layout of a token's bytes. Of earlier ones only the head and names are read."""
_HEAD = struct.Struct("<BBddB")
_CHECK_BYTES = 16
_ID_DIGITS = 32
_DIGEST_BYTES = 8
_PURPOSE = b"groundswell attribution token"


class Draw(IntEnum):
    """How an answer's fusion weight was chosen, if at random."""

    NONE = 0
    """Not at random."""
    GRID = 1
    """From some weights, each with a probability."""
    DENSITY = 2
    """From a distribution with a density."""


class AnswerInputs(NamedTuple):
    """What an answer was made of: the same inputs give the same list. No number is negative."""

    lineage: int = 0
    """A check of the lineage that the numbers below belong to."""
    catalogue_revision: int = 0
    session_sequence: int = 0
    """The newest event of the window; 0 without one."""
    history_version: int = 0
    """The version of the items of the user's history; 0 without any."""
    popularity_revision: int = 0
    """0 where popularity added nothing."""
    shown: int = 0
    """A check of what the user was shown; 0 where that was not limited."""
    degradations: int = 0
    """Bit n is set for the degradation of number n."""
    as_of_us: int = 0
    seed: int = 0
    """0 where nothing was explored."""
    is_forced: bool = False
    """Whether the fusion weight was given, and not the bundle's."""
    items: int = 0
    """A check of the list itself, by the ids of its items."""
    request: bytes = b""
    """The digest of the request; see `AttributionTokens.digest`."""


class Attribution(NamedTuple):
    """What a token says of the answer that it belongs to."""

    recommendation_id: str
    """32 hexadecimal digits, the first twelve of them the time, so that ids are in its order."""
    bundle_id: str
    variant: str = ""
    fusion_weight: float | None = None
    """α; None for an answer that is not personalised."""
    draw: Draw = Draw.NONE
    propensity: float = 0.0
    """The probability, or the density, with which α was drawn; 0 where it was not."""
    inputs: AnswerInputs | None = None
    """None where they are not known."""


class AttributionTokens:
    """Makes tokens under the newest secret of a deployment, and reads those of all its secrets."""

    def __init__(self, *secrets: str) -> None:
        """Take the secrets, oldest first."""
        self._keys = [hmac.digest(s.encode(), _PURPOSE, "sha256") for s in secrets]
        self._newest = hmac.new(self._keys[-1], digestmod=hashlib.sha256)

    def digest(self, content: bytes) -> bytes:
        """Return a digest that only the deployment's secret gives."""
        mac = self._newest.copy()
        mac.update(content)
        return mac.digest()[:_DIGEST_BYTES]

    def is_digest(self, digest: bytes, content: bytes) -> bool:
        """Whether it is the digest of a content, under any of the secrets."""
        found = (hmac.digest(key, content, "sha256")[:_DIGEST_BYTES] for key in self._keys)
        return any(hmac.compare_digest(digest, one) for one in found)

    def issue(self, made: Attribution) -> str:
        """Return the token of an answer."""
        weight = math.nan if made.fusion_weight is None else made.fusion_weight
        bundle = made.bundle_id.encode()
        head = _HEAD.pack(_FORM, made.draw, weight, made.propensity, len(bundle))
        names = bundle + made.variant.encode() + b"\0"
        content = head + names + (b"" if made.inputs is None else _packed(made.inputs))
        mac = self._newest.copy()
        mac.update(made.recommendation_id.encode() + content)
        rest = urlsafe_b64encode(content + mac.digest()[:_CHECK_BYTES])
        return f"{made.recommendation_id}.{rest.decode().rstrip('=')}"

    def read(self, token: str, field: str) -> Attribution:
        """Read a token. Raises InvalidArgument (ATTRIBUTION_TOKEN_INVALID) naming the field."""
        try:
            return self._read(token)
        except (ValueError, struct.error, binascii.Error):
            message = f"{field} is no token of this deployment"
            raise InvalidArgument("ATTRIBUTION_TOKEN_INVALID", message, field=field) from None

    def is_issued(self, token: str) -> bool:
        """Whether it is a token of this deployment."""
        try:
            self.read(token, "token")
        except InvalidArgument:
            return False
        return True

    def _read(self, token: str) -> Attribution:
        recommendation_id, _, rest = token.partition(".")
        packed = urlsafe_b64decode(rest.encode("ascii") + b"=" * (-len(rest) % 4))
        content, check = packed[:-_CHECK_BYTES], packed[-_CHECK_BYTES:]
        signed = recommendation_id.encode() + content
        if not any(_is_check(key, signed, check) for key in reversed(self._keys)):
            raise ValueError("the check is another one")
        form, draw, weight, propensity, length = _HEAD.unpack_from(content)
        names = content[_HEAD.size :]
        if form not in (_FORM, *_EARLIER_FORMS) or len(recommendation_id) != _ID_DIGITS:
            raise ValueError("a token of another release")
        variant, _, inputs = names[length:].partition(b"\0")
        return Attribution(
            recommendation_id,
            names[:length].decode(),
            variant.decode(),
            None if math.isnan(weight) else weight,
            Draw(draw),
            propensity,
            _unpacked(inputs) if inputs and form == _FORM else None,
        )


def new_recommendation_id() -> str:
    """Return a fresh id of an answer, which begins with the time."""
    return id_at(time.time_ns() // 1_000_000) + os.urandom(10).hex()


def id_at(time_ms: int) -> str:
    """Return what sorts just before the ids of a time, in milliseconds since 1970."""
    return f"{max(time_ms, 0):012x}"


def made_at_ms(recommendation_id: str) -> int:
    """Return the time that an id begins with, in milliseconds since 1970."""
    return int(recommendation_id[:12], 16)


def _packed(inputs: AnswerInputs) -> bytes:
    """Write each number in as many bytes as it needs, seven bits a byte, then the digest."""
    packed = bytearray()
    for number in map(int, inputs[:-1]):
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    return bytes(packed) + inputs.request


def _unpacked(packed: bytes) -> AnswerInputs:
    """Read what `_packed` wrote. Raises ValueError for anything else."""
    numbers, number, shift = [], 0, 0
    for place, byte in enumerate(packed, start=1):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
            if len(numbers) == len(AnswerInputs._fields) - 1:
                found = AnswerInputs._make([*numbers, packed[place:]])
                return found._replace(is_forced=bool(found.is_forced))
    raise ValueError("the inputs end early")


def _is_check(key: bytes, signed: bytes, check: bytes) -> bool:
    return hmac.compare_digest(hmac.digest(key, signed, "sha256")[:_CHECK_BYTES], check)
