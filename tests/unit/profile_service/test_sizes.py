"""Lists are split into parts that fit into one answer each, and no entry is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import AsyncMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.common.v1.item_pb2 import Item
from groundswell.profile.v1 import profile_service_pb2 as pb
from groundswell.profile_service.profiles.cached import KeptAnswer, Profile, SeenItems
from groundswell.profile_service.servicers.profile import MAX_SEEN_ITEMS, ProfileServicer
from groundswell.profile_service.servicers.sizes import FRAME_BYTES, fitting_runs
from groundswell.serving.limits import MAX_ANSWER_BYTES
from groundswell.serving.vectors import unpack_int64, unpack_uint32


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 1_000))
def test_runs_hold_everything_in_order_and_fit(lengths: list[int], max_bytes: int) -> None:
    messages = [Item(title="x" * length) for length in lengths]
    runs = list(fitting_runs(messages, max_bytes))
    assert [message for run in runs for message in run] == messages
    for run in runs:
        size = sum(message.ByteSize() + FRAME_BYTES for message in run)
        assert len(run) == 1 or size <= max_bytes


class ManySeen:
    """Profiles of users who have seen as many items as their names say, and a bundle."""

    id = "b" * 64

    @property
    def held(self) -> "ManySeen":
        return self

    @contextmanager
    def asked_for(self, _: str) -> Iterator["ManySeen"]:
        yield self

    async def get(self, names: list[str], *_: Any) -> list[Profile]:
        return [self._profile(int(name)) for name in names]

    def _profile(self, num_items: int) -> Profile:
        numbers = np.arange(num_items)
        seen = SeenItems(numbers, numbers.astype(np.uint32), numbers + 1)
        last = max(num_items, 1)
        return Profile(np.ones(768, np.float32), last, 1, 1, seen, num_events=last)


@pytest.fixture
def servicer() -> ProfileServicer:
    many: Any = ManySeen()
    return ProfileServicer(many, many)


async def profiles_of(servicer: ProfileServicer, *numbers: int) -> pb.BatchGetProfilesResponse:
    requests = [pb.GetProfileRequest(user_id=str(number)) for number in numbers]
    context: Any = None
    return await servicer.BatchGetProfiles(pb.BatchGetProfilesRequest(requests=requests), context)


@pytest.mark.parametrize("num_items", [0, MAX_SEEN_ITEMS, MAX_SEEN_ITEMS + 1, 1_000_000])
async def test_of_very_many_seen_items_the_newest_are_given(
    servicer: ProfileServicer, num_items: int
) -> None:
    context: Any = None
    request = pb.GetProfileRequest(user_id=str(num_items))
    answer = await servicer.GetProfile(request, context)
    seen = answer.profile.seen
    assert answer.ByteSize() < MAX_ANSWER_BYTES
    assert seen.truncated == (num_items > MAX_SEEN_ITEMS)
    newest = np.arange(num_items)[-MAX_SEEN_ITEMS:]
    assert unpack_int64(seen.item_nos).tolist() == newest.tolist()
    assert unpack_uint32(seen.action_masks).tolist() == newest.tolist()


@pytest.mark.parametrize(
    ("num_items", "known", "accepts", "since", "num_given"),
    [
        (50, 45, True, 45, 5),
        (50, 45, False, 0, 50),
        (50, 51, True, 0, 50),
        (MAX_SEEN_ITEMS + 7, 6, True, 0, MAX_SEEN_ITEMS),
        (MAX_SEEN_ITEMS + 7, 7, True, 7, MAX_SEEN_ITEMS),
    ],
)
async def test_a_caller_that_asks_for_it_gets_what_it_lacks(
    servicer: ProfileServicer,
    num_items: int,
    known: int,
    accepts: bool,
    since: int,
    num_given: int,
) -> None:
    context: Any = None
    request = pb.GetProfileRequest(
        user_id=str(num_items), known_seen_version=known, accepts_seen_difference=accepts
    )
    seen = (await servicer.GetProfile(request, context)).profile.seen
    assert (seen.included, seen.since_version, seen.version) == (True, since, num_items)
    newest = np.arange(num_items)[-num_given:]
    assert unpack_int64(seen.item_nos).tolist() == newest.tolist()


async def test_a_caller_who_lacks_nothing_gets_the_answer_that_was_kept() -> None:
    held = ManySeen()._profile(50)._replace(lineage="a lineage", kept_answer=KeptAnswer())
    many: Any = ManySeen()
    many.get = AsyncMock(side_effect=lambda *_: [held])
    servicer, context = ProfileServicer(many, many), cast(Any, None)

    async def ask(known: int) -> pb.GetProfileResponse:
        return await servicer.GetProfile(
            pb.GetProfileRequest(
                user_id="50", known_seen_version=known, known_seen_lineage="a lineage"
            ),
            context,
        )

    first = await ask(50)
    assert first == await ask(50)
    assert held.kept_answer == KeptAnswer(first.SerializeToString())
    assert (first.profile.seen.included, first.profile.num_events) == (False, 50)
    assert (await ask(49)).profile.seen.included
    held = held._replace(kept_answer=None)
    assert first == await ask(50)


async def test_a_batch_gives_the_seen_items_of_its_first_users_and_says_whose_lack(
    servicer: ProfileServicer,
) -> None:
    answer = await profiles_of(servicer, *[2_000] * 256)
    assert MAX_ANSWER_BYTES - 60_000 < answer.ByteSize() < MAX_ANSWER_BYTES
    given_lists = [profile.seen.included for profile in answer.profiles]
    assert given_lists == sorted(given_lists, reverse=True)
    assert 0 < sum(given_lists) < 256
    for profile in answer.profiles:
        assert (profile.seen.version, len(profile.vector.values)) == (2_000, 768 * 4)
        assert len(profile.seen.item_nos) == (16_000 if profile.seen.included else 0)


async def test_a_batch_that_fits_leaves_nothing_out(servicer: ProfileServicer) -> None:
    answer = await profiles_of(servicer, *[100] * 256)
    assert all(profile.seen.included for profile in answer.profiles)
