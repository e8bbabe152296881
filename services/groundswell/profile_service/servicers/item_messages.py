"""Converts items between messages and their stored form; checks the rules of the contract."""

import math

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1 import item_pb2
from groundswell.contract.items import (
    ATTRIBUTE_NAME,
    MAX_ATTRIBUTES,
    MAX_CATEGORIES,
    MAX_CATEGORY_BYTES,
    MAX_DESCRIPTION_BYTES,
    MAX_ITEM_BYTES,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    MAX_TITLE_BYTES,
    RESERVED_NAMES,
)
from groundswell.profile_service.store.items import Attribute, ItemContent, KnownItem
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.telemetry import count
from groundswell.serving.validation import (
    check_item_id,
    check_time,
    id_problem,
    to_timestamp,
    to_us,
)

# The bytes of the number and the revision, which only answers have.
_OUTPUT_BYTES = 64

_log = structlog.get_logger(__name__)


def item_content(item: item_pb2.Item, field: str) -> ItemContent:
    """Read an item. Raises InvalidArgument, naming what is wrong below `field`."""
    size = item.ByteSize()
    if size > MAX_ITEM_BYTES:
        message = f"{field} is {size:,} bytes long; at most {MAX_ITEM_BYTES:,} are taken"
        raise InvalidArgument("ITEM_TOO_LARGE", message, field=field)
    check_item_id(item.item_id, f"{field}.item_id")
    _check(item.title, f"{field}.title", "TITLE_INVALID", MAX_TITLE_BYTES)
    _check(item.description, f"{field}.description", "DESCRIPTION_INVALID", MAX_DESCRIPTION_BYTES)
    _check_categories(list(item.categories), f"{field}.categories")
    return ItemContent(
        item.item_id,
        item.title,
        item.description,
        list(item.categories),
        _attributes(item, f"{field}.attributes"),
        item.available if item.HasField("available") else True,
        *_times(item, field),
    )


def item_message(known: KnownItem) -> item_pb2.Item:
    """Write a stored item as a message of bounded size.

    An item that an earlier release took may be larger: then its largest attributes are left out.
    """
    content = known.content
    message = item_pb2.Item(
        item_id=content.item_id,
        item_no=known.item_no,
        title=content.title,
        description=content.description,
        categories=content.categories,
        attributes={name: _value(value) for name, value in content.attributes.items()},
        available=content.available,
        revision=known.revision,
        create_time=_timestamp(known.created_us),
        available_from=_timestamp(content.available_from_us),
        available_until=_timestamp(content.available_until_us),
    )
    if message.ByteSize() > MAX_ITEM_BYTES + _OUTPUT_BYTES:
        _drop_largest_attributes(message)
    return message


def _times(item: item_pb2.Item, field: str) -> tuple[int | None, int | None]:
    """Read from when until when an item may be recommended."""
    start = end = None
    if item.HasField("available_from"):
        check_time(item.available_from, f"{field}.available_from")
        start = to_us(item.available_from)
    if item.HasField("available_until"):
        check_time(item.available_until, f"{field}.available_until")
        end = to_us(item.available_until)
    if start is not None and end is not None and end <= start:
        path = f"{field}.available_until"
        message = f"{path} is not after available_from"
        raise InvalidArgument("AVAILABILITY_INVALID", message, field=path)
    return start, end


def _timestamp(time_us: int | None) -> Timestamp | None:
    return None if time_us is None else to_timestamp(time_us)


def _drop_largest_attributes(message: item_pb2.Item) -> None:
    excess = message.ByteSize() - MAX_ITEM_BYTES
    sizes = {name: value.ByteSize() for name, value in message.attributes.items()}
    dropped = []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        del message.attributes[name]
        excess -= sizes[name]
        dropped.append(name)
    message.attributes_omitted = True
    count("items_cut")
    _log.warning("item_cut", item_no=message.item_no, left_out=dropped)


def _check(text: str, field: str, reason: str, max_bytes: int, *, needed: bool = False) -> None:
    problem = id_problem(text, max_bytes, may_be_empty=not needed)
    if problem is not None:
        raise InvalidArgument(reason, f"{field} {problem}", field=field)


def _check_categories(categories: list[str], field: str) -> None:
    reason = "CATEGORIES_INVALID"
    if len(categories) > MAX_CATEGORIES:
        message = f"{field} has {len(categories)}; at most {MAX_CATEGORIES} are taken"
        raise InvalidArgument(reason, message, field=field)
    for index, category in enumerate(categories):
        _check(category, f"{field}[{index}]", reason, MAX_CATEGORY_BYTES, needed=True)
    if len(set(categories)) != len(categories):
        raise InvalidArgument(reason, f"{field} has one twice", field=field)


def _attributes(item: item_pb2.Item, field: str) -> dict[str, Attribute]:
    if len(item.attributes) > MAX_ATTRIBUTES:
        raise _wrong(field, f"has {len(item.attributes)}; at most {MAX_ATTRIBUTES} are taken")
    attributes: dict[str, Attribute] = {}
    for name, value in sorted(item.attributes.items()):
        if not ATTRIBUTE_NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise _wrong(field, f"has the name {name!r}, which is not allowed")
        attributes[name] = _attribute(value, f"{field}.{name}")
    return attributes


def _attribute(value: item_pb2.AttributeValue, field: str) -> Attribute:
    kind = value.WhichOneof("kind")
    if kind == "number":
        if not math.isfinite(value.number):
            raise _wrong(field, "is not finite")
        return value.number
    if kind == "flag":
        return value.flag
    if kind == "text":
        _check(value.text, field, "ATTRIBUTES_INVALID", MAX_TEXT_BYTES)
        return value.text
    if kind is None:
        raise _wrong(field, "has no value")
    texts = list(value.texts.values)
    if len(texts) > MAX_TEXTS:
        raise _wrong(field, f"has {len(texts)} texts; at most {MAX_TEXTS} are taken")
    for text in texts:
        _check(text, field, "ATTRIBUTES_INVALID", MAX_TEXT_BYTES)
    return texts


def _value(value: Attribute) -> item_pb2.AttributeValue:
    if isinstance(value, bool):
        return item_pb2.AttributeValue(flag=value)
    if isinstance(value, str):
        return item_pb2.AttributeValue(text=value)
    if isinstance(value, float):
        return item_pb2.AttributeValue(number=value)
    return item_pb2.AttributeValue(texts=item_pb2.TextList(values=value))


def _wrong(field: str, problem: str) -> InvalidArgument:
    return InvalidArgument("ATTRIBUTES_INVALID", f"{field} {problem}", field=field)
