"""The last answers about users: for a service that is down, and to read the same bytes once."""

import asyncio
import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.profile_service_pb2 import GetProfileResponse, Profile, SeenItems
from groundswell.ranker_service.kept import KeptAnswers
from groundswell.ranker_service.profile_client import LongTerm, ProfileClient
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.seen import SeenCache
from groundswell.serving.channels import open_channel
from groundswell.serving.vectors import pack_int64, pack_uint32

SPACE = BundleSpace("a", 4, lineage="now")
USER = b"u"


class Answer(NamedTuple):
    vector: NDArray[np.float32] | None = None
    lineage: str = "now"
    num_bytes: int = 10


def test_the_same_bytes_give_what_was_read_of_them() -> None:
    kept: KeptAnswers[Answer] = KeptAnswers(100_000)
    answer = Answer()
    kept.put(USER, SPACE, answer, b"sent")
    assert kept.read_from(b"sent", USER, SPACE) is answer
    assert kept.read_from(b"other", USER, SPACE) is None
    assert kept.read_from(b"sent", b"v", SPACE) is None
    assert kept.read_from(b"sent", USER, BundleSpace("b", 4, lineage="now")) is None
    # After a restore of the database its numbers may name other items.
    assert kept.read_from(b"sent", USER, BundleSpace("a", 4, lineage="restored")) is None


def test_what_was_read_of_no_bytes_or_of_many_is_read_again() -> None:
    kept: KeptAnswers[Answer] = KeptAnswers(100_000)
    for sent in (b"", bytes(5_000)):
        kept.put(USER, SPACE, Answer(), sent)
        assert kept.read_from(sent, USER, SPACE) is None
        assert kept.read_from(b"", USER, SPACE) is None


async def test_seen_items_are_held_by_the_cache_that_counts_them_alone() -> None:
    items = pack_int64(range(9)), pack_uint32([4] * 9)
    given = SeenItems(included=True, item_nos=items[0], action_masks=items[1])
    answers = [given, SeenItems(), SeenItems()]
    for answer in answers:
        answer.MergeFrom(SeenItems(version=5, lineage="now"))
    seen = SeenCache(4, max_bytes=100_000, max_users=9)
    user = Ask(user_id="ann", user_mark=USER, as_of_us=0, k=1)

    async with open_channel("127.0.0.1:1") as channel:
        client = ProfileClient(channel, seen, max_kept_bytes=100_000)

        async def send(*_: object, **__: object) -> bytes:
            answer = GetProfileResponse(profile=Profile(num_events=9, seen=answers.pop(0)))
            return answer.SerializeToString()

        client._get = send  # type: ignore[assignment]
        deadline = asyncio.get_running_loop().time() + 60

        async def ask() -> LongTerm | None:
            return await client.begin(user, SPACE, deadline).answer()

        first, second, third = [await ask() for _ in range(3)]
        assert first and second and third and first.items
        assert first.items is second.items is third.items
        array = weakref.ref(first.items.seen)
        seen.drop({USER})
        del first, second, third
        assert array() is None
