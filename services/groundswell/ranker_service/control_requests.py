"""Reads and checks the controls of a request."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from groundswell.ranker.v1 import ranker_service_pb2 as pb
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.validation import check_id, check_number

_MAX_PROMOTIONS = 4
_MAX_BOOSTS = 10
_MAX_LIKES = 100
_MAX_PLACES = 200
"""The most places of a promotion, and of a category."""
_LARGEST = 100.0
"""The largest weight of a boost and the largest relevance, in standard deviations."""
_DEFAULT_ITEM_AGE_US = 7 * 86_400 * 1_000_000

_PATH = "controls"


@dataclass(frozen=True)
class AskedControls:
    """The checked controls of a request; filters and ids are still texts."""

    pins: dict[int, str]
    """Item ids by place; the first place is 0."""
    boosts: Sequence[tuple[str, float]]
    """(filter, weight)."""
    promotions: Sequence[tuple[str, int]]
    """(filter, number of places)."""
    diversity: float
    max_per_category: int
    min_relevance: float | None
    exploration: float
    max_item_age_us: int
    liked: Sequence[str]
    disliked: Sequence[str]
    seed: int

    def filters(self) -> list[tuple[str, str]]:
        """Return each filter and the path of its message: those of boosts, then of promotions."""
        texts = (("boosts", self.boosts), ("promotions", self.promotions))
        return [
            (text, f"{_PATH}.{name}[{n}]")
            for name, some in texts
            for n, (text, _) in enumerate(some)
        ]


def read_controls(request: pb.RecommendRequest, page_size: int) -> AskedControls | None:
    """Read the controls of a request; None without any.

    Raises InvalidArgument (CONTROLS_INVALID) with the path of the field.
    """
    if not request.HasField("controls"):
        return None
    controls = request.controls
    exploration = controls.exploration
    return AskedControls(
        pins=_pins(controls.pins, page_size),
        boosts=_boosts(controls.boosts),
        promotions=_promotions(controls.promotions),
        diversity=_share(controls.diversity, "diversity"),
        max_per_category=_whole(controls.max_per_category, "max_per_category", 0, _MAX_PLACES),
        min_relevance=(
            _measure(controls.min_relevance, "min_relevance")
            if controls.HasField("min_relevance")
            else None
        ),
        exploration=_share(exploration.weight, "exploration.weight"),
        max_item_age_us=_item_age_us(exploration),
        liked=_ids(controls.liked_item_ids, "liked_item_ids"),
        disliked=_ids(controls.disliked_item_ids, "disliked_item_ids"),
        seed=_seed(controls),
    )


def _pins(pins: Sequence[pb.Pin], page_size: int) -> dict[int, str]:
    _check_count(pins, "pins", page_size)
    placed: dict[int, str] = {}
    pinned: set[str] = set()
    for n, pin in enumerate(pins):
        path = f"pins[{n}]"
        check_id(pin.item_id, f"{_PATH}.{path}.item_id", "CONTROLS_INVALID")
        place = _whole(pin.place, f"{path}.place", 1, page_size) - 1
        if place in placed:
            raise _wrong(f"{path}.place", f"is {pin.place}, which another pin has")
        if pin.item_id in pinned:
            raise _wrong(f"{path}.item_id", "is pinned twice")
        placed[place] = pin.item_id
        pinned.add(pin.item_id)
    return placed


def _boosts(boosts: Sequence[pb.Boost]) -> list[tuple[str, float]]:
    _check_count(boosts, "boosts", _MAX_BOOSTS)
    found = []
    for n, boost in enumerate(boosts):
        _check_given(boost.filter, f"boosts[{n}].filter")
        found.append((boost.filter, _measure(boost.weight, f"boosts[{n}].weight")))
    return found


def _promotions(promotions: Sequence[pb.Promotion]) -> list[tuple[str, int]]:
    _check_count(promotions, "promotions", _MAX_PROMOTIONS)
    found = []
    for n, promotion in enumerate(promotions):
        _check_given(promotion.filter, f"promotions[{n}].filter")
        num_items = _whole(promotion.num_items, f"promotions[{n}].num_items", 1, _MAX_PLACES)
        found.append((promotion.filter, num_items))
    return found


def _item_age_us(exploration: pb.Exploration) -> int:
    if not exploration.HasField("max_item_age"):
        return _DEFAULT_ITEM_AGE_US
    age = exploration.max_item_age
    if age.seconds < 0 or age.nanos < 0 or not (age.seconds or age.nanos):
        raise _wrong("exploration.max_item_age", "must be more than 0")
    return age.seconds * 1_000_000 + age.nanos // 1000


def _ids(item_ids: Sequence[str], field: str) -> Sequence[str]:
    _check_count(item_ids, field, _MAX_LIKES)
    return item_ids


def _seed(controls: pb.Controls) -> int:
    if not controls.HasField("seed"):
        return random.getrandbits(63)
    if controls.seed < 0:
        raise _wrong("seed", f"is {controls.seed}; it must not be negative")
    return controls.seed


def _share(value: float, field: str) -> float:
    if not 0 <= value <= 1:  # false for a NaN
        raise _wrong(field, f"is {value}; it must be from 0 to 1")
    return value


def _measure(value: float, field: str) -> float:
    if not (math.isfinite(value) and abs(value) <= _LARGEST):
        raise _wrong(field, f"is {value}; it must be from {-_LARGEST:g} to {_LARGEST:g}")
    return value


def _whole(value: int, field: str, least: int, most: int) -> int:
    return check_number(value, f"{_PATH}.{field}", "CONTROLS_INVALID", least, most)


def _check_count(values: Sequence[object], field: str, most: int) -> None:
    if len(values) > most:
        raise _wrong(field, f"has {len(values)}; at most {most} are allowed")


def _check_given(text: str, field: str) -> None:
    if not text:
        raise _wrong(field, "is empty")


def _wrong(field: str, problem: str) -> InvalidArgument:
    return InvalidArgument(
        "CONTROLS_INVALID", f"{_PATH}.{field} {problem}", field=f"{_PATH}.{field}"
    )
