"""Strategies of requests, made from the descriptors of messages: right, odd and spoiled ones."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.support.bundles import DIMENSION, ITEMS

Known = Mapping[str, Sequence[Any]]
"""Right values of fields, by the names of the fields, or of their messages and the fields."""

_NOW_S = int(datetime(2026, 5, 4, tzinfo=UTC).timestamp())
_MAX_DEPTH = 4
_TYPE = FieldDescriptor

_ITEM_IDS = [item_id for item_id, _, _ in ITEMS]
_FILTERS = ["price < 20", "NOT price = 3 OR price IN (1, 2)", "array_contains(categories, 'war')"]
KNOWN: Known = {
    "user_id": [f"user-{n}" for n in range(20)],
    "session_id": ["visit-1", "visit-2"],
    "categories": ["comedy", "drama", "war"],
    "title": ["A quiet river", "", "汉字 mixed"],
    "event_id": [f"event-{n}" for n in range(200)],
    "item_id": _ITEM_IDS,
    "deny_item_ids": _ITEM_IDS,
    "item_ids": _ITEM_IDS,
    "liked_item_ids": _ITEM_IDS,
    "disliked_item_ids": _ITEM_IDS,
    "filter": _FILTERS,
    "page_size": [1, 10, 200],
    "num_interests": [1, 3],
    "place": [1, 2, 5],
    "stage": ["stage-1", "stage-2"],
    **{n: ["a quiet river", "burning winters and other stories"] for n in ("text", "texts")},
    "dimension": [DIMENSION],
    "Vector.values": [np.linspace(-1, 1, DIMENSION, dtype="<f4").tobytes()],
    "item_nos": [np.arange(1, 9, dtype="<i8").tobytes(), np.arange(1, 9, dtype="<i4").tobytes()],
    **{name: [""] for name in ("bundle_id", "lineage", "known_seen_lineage", "page_token")},
    **{name: [0, 1] for name in ("since_revision", "known_seen_version")},
}
"""Right values that need no running suite."""
_RARELY = {"filter", "session_id", "bundle_id", "page_token", "known_seen_version"}
_NEEDED = {"action", "time", "title", "events", "items", "requests", "request", "texts", "lists"}

_ODD_TEXTS = [
    *("", "\0", "a\0b", " ", "\n", "\u200b", "\u202eabc", "\ufeff", "e\u0301" * 300, "\ufffd"),
    *("\U0001f9ff", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "مرحبا", "汉字", "\U0010ffff"),
    *("x" * 256, "x" * 257, "é" * 128, "é" * 129, "x" * 2_001, "x" * 20_001, "x" * 70_000),
    *("NaN", "-1", "9" * 400, "{}", "[" * 5_000, "(" * 1_500, "'; DROP TABLE items; --", "%s%n"),
    *("../../etc/passwd", "current", "AAAA" * 100, "price < 1e999", "price < NaN", "title = '"),
]
_EDGES = [0, 1, 2, 63, 64, 65, 199, 200, 201, 255, 256, 257, 1_000, 1_001, 10_000, 10_001]
_COUNTS = [0, 1, 2, 3, 33, 65, 201, 257, 1_001]
_FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1 + 1e-15, 1e308, -1e308, 5e-324, 1e-45])
_SINGLE = st.floats(width=32)
_USUAL_NUMBERS = st.integers(0, 10)
_SHARES = st.floats(0, 1)


def requests(descriptor: Descriptor, known: Known) -> st.SearchStrategy[Message]:
    """Any request of a type: half of them are right as far as the names of the fields tell."""
    return _messages(descriptor, known, 0)


@st.composite
def _messages(draw: st.DrawFn, descriptor: Descriptor, known: Known, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    if descriptor.full_name in _TIMES:
        _fill_time(draw, message)
        return message
    fields = [f for f in descriptor.fields if f.containing_oneof is None]
    # An optional field is in a choice of its own.
    fields += [draw(st.sampled_from(list(one.fields))) for one in descriptor.oneofs]
    odd: set[FieldDescriptor] = set()
    has_odd = draw(st.booleans())
    if fields and has_odd:
        odd = {draw(st.sampled_from(fields))} if draw(st.integers(0, 4)) else set(fields)
    for field in fields:
        if field in odd or draw(st.integers(0, 9)) < _chance(field, known):
            _fill(draw, message, field, known, depth, is_odd=field in odd)
    return message


def _chance(field: FieldDescriptor, known: Known) -> int:
    """How often of ten times a field is set: mostly those without which nothing is right."""
    choice = field.containing_oneof
    if choice is not None and len(choice.fields) > 1:
        return 9
    if field.name in _RARELY:
        return 2
    return 9 if field.name in known or field.name in _NEEDED else 3


def _fill(
    draw: st.DrawFn,
    message: Any,
    field: FieldDescriptor,
    known: Known,
    depth: int,
    *,
    is_odd: bool,
) -> None:
    if field.message_type is not None and depth >= _MAX_DEPTH:
        return
    if field.is_repeated:
        _fill_list(draw, message, field, known, depth, is_odd=is_odd)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(draw(_messages(field.message_type, known, depth + 1)))
    else:
        setattr(message, field.name, draw(_scalars(field, known, is_odd)))


def _fill_list(
    draw: st.DrawFn,
    message: Any,
    field: FieldDescriptor,
    known: Known,
    depth: int,
    *,
    is_odd: bool,
) -> None:
    """Fill a list or a map; a long list repeats its elements."""
    target = getattr(message, field.name)
    of_messages = field.message_type
    if of_messages is not None and of_messages.GetOptions().map_entry:
        key, value = of_messages.fields_by_number[1], of_messages.fields_by_number[2]
        of_values = value.message_type
        assert of_values is not None  # no contract has another map
        for _ in range(draw(st.integers(0, 3))):
            entry = target[draw(_scalars(key, {"key": ["price", "brand", "tags"]}, is_odd))]
            entry.CopyFrom(draw(_messages(of_values, known, depth + 1)))
        return
    one = _scalars(field, known, is_odd) if of_messages is None else None
    if of_messages is not None:
        one = _messages(of_messages, known, depth + 1)
    assert one is not None
    elements = [draw(one) for _ in range(draw(st.integers(0 if is_odd else 1, 3)))]
    is_text = of_messages is None and not is_odd
    target.extend(dict.fromkeys(elements) if is_text else elements)
    if is_odd and elements:
        num = draw(st.sampled_from(_COUNTS))
        if num * max(_size(element) for element in elements) < 5 * 2**20:
            target.extend((elements * (num // len(elements) + 1))[:num])


def _size(element: Any) -> int:
    return element.ByteSize() if isinstance(element, Message) else len(str(element))


def _scalars(field: FieldDescriptor, known: Known, is_odd: bool) -> st.SearchStrategy[Any]:
    if is_odd:
        return _odd(field.type)
    name = ".".join(field.full_name.split(".")[-2:])
    values = known.get(name, known.get(field.name))
    if values is not None:
        return st.sampled_from(values)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return _usual(field.type)


@cache
def _usual(kind: int) -> st.SearchStrategy[Any]:
    if kind == _TYPE.TYPE_STRING:
        return st.sampled_from(["", "war", "comedy", "A title", "Ein Wort"])
    if kind == _TYPE.TYPE_BYTES:
        return st.just(b"\0" * 64)
    if kind in (_TYPE.TYPE_DOUBLE, _TYPE.TYPE_FLOAT):
        return _SHARES
    return st.booleans() if kind == _TYPE.TYPE_BOOL else _USUAL_NUMBERS


@cache
def _odd(kind: int) -> st.SearchStrategy[Any]:
    """Values at bounds and beyond, that fit the type on the wire."""
    if kind == _TYPE.TYPE_STRING:
        any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
        return st.sampled_from(_ODD_TEXTS) | any_text
    if kind == _TYPE.TYPE_BYTES:
        vectors = st.lists(_SINGLE, max_size=20).map(lambda v: np.array(v, "<f4").tobytes())
        return vectors | st.binary(max_size=200)
    if kind in (_TYPE.TYPE_DOUBLE, _TYPE.TYPE_FLOAT):
        return _FLOATS if kind == _TYPE.TYPE_DOUBLE else _SINGLE
    if kind == _TYPE.TYPE_BOOL:
        return st.booleans()
    # Numbers of enums that no release knows are numbers of 32 bits.
    bits = 63 if kind in (_TYPE.TYPE_INT64, _TYPE.TYPE_SINT64, _TYPE.TYPE_SFIXED64) else 31
    ends = [-1, -(2**bits), 2**bits - 1]
    return st.sampled_from([*_EDGES, *ends]) | st.integers(-(2**bits), 2**bits - 1)


_TIMES = ("google.protobuf.Timestamp", "google.protobuf.Duration")


def _fill_time(draw: st.DrawFn, message: Any) -> None:
    """Fill a time or a duration: mostly of these years or days."""
    is_time = message.DESCRIPTOR.name == "Timestamp"
    if draw(st.integers(0, 3)):
        message.seconds = draw(st.integers(0, 10**6)) + (_NOW_S if is_time else 0)
        return
    message.seconds = draw(_odd(_TYPE.TYPE_INT64) | st.integers(-(10**11), 10**12))
    message.nanos = draw(_odd(_TYPE.TYPE_INT32) | st.integers(0, 10**9))


def spoil(sent: bytes, rng: random.Random) -> bytes:
    """Change some bytes of a request, as no client would."""
    noise = bytearray(sent)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(noise) + 1)
        match rng.randrange(5):
            case 0:
                noise[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del noise[place:]
            case 2:
                noise[place:place] = rng.randbytes(rng.randint(1, 12))
            case 3:
                noise[place:place] = noise[place // 2 : place // 2 + rng.randint(1, 300)]
            case _:
                # Groups in groups, longer than they say, or a field that no release knows.
                noise += rng.choice([b"\x0b" * 200, b"\x0a\xff\xff\xff\xff\x7f", b"\xfa\x3f\x01!"])
    return bytes(noise)
