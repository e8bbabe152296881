"""ranker.recommend: Recommend against a bare gather, over the same upstreams of fixed answers."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.cli.suite.door import LocalDoor
from groundswell.common.v1.item_pb2 import Item
from groundswell.common.v1.model_service_pb2 import GetModelResponse
from groundswell.profile.v1.catalogue_service_pb2 import ItemChange, WatchItemsResponse
from groundswell.profile.v1.profile_service_pb2 import GetProfileResponse, Profile, SeenItems
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest, RecommendResponse
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.serving.channels import open_channel
from groundswell.serving.validation import to_timestamp
from groundswell.serving.vectors import pack_int64, pack_uint32, vector_to_proto
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse
from tests.bench.canned_server import Answers
from tests.bench.deployment import canned
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.large_bundle import item_id, large_bundle
from tests.bench.world import world
from tests.support.processes import Process, free_port, service_process

_CALLS = 1_500
REQUEST = RecommendRequest(user_id="user-0", page_size=10)
_MODEL = "/groundswell.common.v1.ModelService/GetModel"
_CLICK = 1 << 2
_NOW_US = 1_800_000_000_000_000
_CHANGES_PER_MESSAGE = 500
_SEED = 3
_START_TIMEOUT_S = 600.0
"""A million items take minutes."""


def measure(folder: Path) -> list[Line]:
    """Measure a user with both vectors, 60 seen items and no filter."""
    with canned_ranker(folder) as (ranker, gather):
        return asyncio.run(_measure(ranker, gather))


async def _measure(ranker: str, gather: str) -> list[Line]:
    async with open_channel(ranker) as channel, open_channel(gather) as gather_channel:
        ours, theirs = RankerServiceStub(channel), RankerServiceStub(gather_channel)
        sides = {
            OURS: Side(lambda: ours.Recommend(REQUEST)),
            THEIRS: Side(lambda: theirs.Recommend(REQUEST)),
        }
        p50, p50_ms, p99, p99_ms = await compare("ranker.recommend", "bare gather", sides, _CALLS)
        throughput = await compare_throughput("ranker.recommend", "bare gather", sides)
        return [p50.at_most(1.4), p50_ms, p99.at_most(2.0), p99_ms, throughput.at_least(0.6)]


@contextmanager
def canned_ranker(
    folder: Path, num_items: int | None = None, more: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """Start a ranker over upstreams of fixed answers, and a bare gather over the same ones.

    Give their addresses. `num_items`: of the catalogue; without it, that of the world. `more` are
    variables of the ranker.
    """
    with (
        upstreams(folder, num_items) as (bundle, profile, session),
        started_ranker(folder, bundle, profile, session, more) as ranker,
        _gather(folder, profile, session, asyncio.run(_answer_of(ranker))) as gather,
    ):
        yield ranker, gather


@contextmanager
def upstreams(
    folder: Path, num_items: int | None = None, door: LocalDoor | None = None
) -> Iterator[tuple[Bundle, str, str]]:
    """Start a profile and a session service of fixed answers; give the bundle and addresses."""
    if num_items is None:
        bundle = load_bundle(world().bundles)
    else:
        bundle = large_bundle(folder / f"bundles-{num_items}", num_items)
    with (
        canned(folder, _profile_answers(bundle), door) as profile,
        canned(folder, _session_answers(bundle), door) as session,
    ):
        yield bundle, profile, session


async def _answer_of(ranker: str) -> RecommendResponse:
    async with open_channel(ranker) as channel:
        answer = await RankerServiceStub(channel).Recommend(REQUEST)
    if answer.degradations or len(answer.recommendations) != REQUEST.page_size:
        raise RuntimeError(f"the ranker of the bench falls short: {answer.degradations}")
    return answer


@contextmanager
def started_ranker(
    folder: Path,
    bundle: Bundle,
    profile: str,
    session: str,
    more: Mapping[str, str] | None = None,
    module: str = "groundswell.ranker_service",
    door: LocalDoor | None = None,
) -> Iterator[str]:
    """Start a ranker, with more variables, and behind a door; give its address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    settings = {
        "GROUNDSWELL_PROFILE_ADDRESS": profile,
        "GROUNDSWELL_SESSION_ADDRESS": session,
        **({} if door is None else door.of_services()),
        **(more or {}),
    }
    with service_process(
        module, port, bundle.path.parent, folder / f"ranker-{port}.log", settings
    ) as process:
        process.wait_serving(
            address, timeout=_START_TIMEOUT_S, tls=None if door is None else door.tls
        )
        yield address


@contextmanager
def _gather(folder: Path, profile: str, session: str, answer: RecommendResponse) -> Iterator[str]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    file = folder / "recommend.bin"
    file.write_bytes(answer.SerializeToString())
    arguments = ["-m", "tests.bench.gather_server", str(port), profile, session, str(file)]
    with Process(arguments, {}, folder / "gather.log") as process:
        process.wait_serving(address)
        yield address


def _profile_answers(bundle: Bundle) -> Answers:
    seen = np.arange(1, 61)
    profile = Profile(
        vector=vector_to_proto(_user_vector(bundle, 0), bundle.id),
        num_covered_events=120,
        num_events=120,
        last_event_time=to_timestamp(_NOW_US),
        covered_at=to_timestamp(_NOW_US),
        seen=SeenItems(
            version=120,
            included=True,
            item_nos=pack_int64(seen),
            action_masks=pack_uint32([_CLICK] * len(seen)),
        ),
    )
    return {
        "/groundswell.profile.v1.ProfileService/GetProfile": GetProfileResponse(profile=profile),
        "/groundswell.profile.v1.CatalogueService/WatchItems": _catalogue(bundle),
        _MODEL: GetModelResponse(loaded_bundle_ids=[bundle.id]),
    }


def _session_answers(bundle: Bundle) -> Answers:
    length = bundle.manifest.window_length
    answer = EncodeSessionResponse(
        vector=vector_to_proto(_user_vector(bundle, 1), bundle.id),
        num_window_events=length,
        num_session_events=3,
        last_event_time=to_timestamp(_NOW_US),
        last_sequence=120,
        item_nos=pack_int64(range(1, length + 1)),
        action_masks=pack_uint32([_CLICK] * length),
    )
    return {
        "/groundswell.session.v1.SessionService/EncodeSession": answer,
        _MODEL: GetModelResponse(loaded_bundle_ids=[bundle.id]),
    }


def _catalogue(bundle: Bundle) -> list[WatchItemsResponse]:
    num_items = len(bundle.item_vectors)
    messages = [
        WatchItemsResponse(
            changes=[_change(bundle, n) for n in range(start, stop)],
            revision=stop,
        )
        for start, stop in pairwise([*range(0, num_items, _CHANGES_PER_MESSAGE), num_items])
    ]
    messages[-1].caught_up = True
    return messages


def _change(bundle: Bundle, n: int) -> ItemChange:
    items = world().items
    _, title, categories = items[n % len(items)]
    item = Item(
        item_id=item_id(n), item_no=n + 1, revision=n + 1, title=title, categories=categories
    )
    return ItemChange(item=item, vector=vector_to_proto(bundle.item_vectors[n], bundle.id))


def _user_vector(bundle: Bundle, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vector = np.random.default_rng(_SEED + seed).normal(size=bundle.manifest.dimension)
    vector[-1] = 1.0
    return vector.astype(np.float32)
