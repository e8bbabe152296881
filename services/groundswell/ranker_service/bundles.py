"""Chooses the bundle that ranks: a new one ranks once it is loaded and both encoders hold it."""

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import grpc
import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceStub
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.follower import RankerCopies
from groundswell.ranker_service.popularity_now import CurrentPopularity
from groundswell.ranker_service.probation import Probation
from groundswell.ranker_service.replicas import held_ids
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.withdrawals import Withdrawals
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.runtime.catalogue_follower import CatalogueFollower
from groundswell.runtime.held_bundles import HeldBundles
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_ASK_EVERY_S, _ASK_AT_LEAST_EVERY_S = 0.2, 1.0
_ASK_TIMEOUT_S = 1.0
_NUM_ANSWERS = 5
"""How many times in a row both encoders must answer that they hold a bundle."""
_MAX_HELD = 2
"""The bundle that ranks and the one before it. Only encoders are asked for earlier bundles."""


@dataclass(frozen=True)
class RankerBundle:
    """One bundle that is warm and follows the catalogue."""

    id: str
    manifest: Manifest
    follower: CatalogueFollower[BundleRanker]

    @property
    def ranker(self) -> BundleRanker:
        """The ranker in use; a restore of the database replaces it."""
        return self.follower.copy

    async def close(self) -> None:
        """Stop following and ranking."""
        await self.follower.close()


class RankerBundles:
    """Holds the bundle that ranks, the one before it, and the one that is to rank next."""

    def __init__(
        self,
        profile: grpc.aio.Channel,
        session: grpc.aio.Channel,
        settings: RankerSettings,
        popularity: CurrentPopularity,
    ) -> None:
        self._profile = profile
        self._encoders = {
            "profile": ModelServiceStub(profile),
            "session": ModelServiceStub(session),
        }
        self._settings = settings
        self._popularity = popularity
        self.held: HeldBundles[RankerBundle] = HeldBundles(
            self._load, keep_s=settings.bundle_keep_s, max_held=_MAX_HELD
        )
        self._probation = Probation(settings.probation_s)
        self._withdrawals = Withdrawals(BundleStore(settings.bundles), settings.withdrawn_file)
        self._keeping: asyncio.Future[None] | None = None
        self._candidates: list[RankerBundle] = []
        """Warm bundles that some encoder may not hold yet."""

    def current(self) -> BundleRanker:
        """Return the ranker in use. Raises Unavailable (NO_BUNDLE) before the first bundle."""
        return self.held.get("").ranker

    def in_use(
        self, bundle_id: str = "", *, alone: bool = False
    ) -> AbstractContextManager[list[BundleRanker]]:
        """Give the ranker of a bundle, by default of the served one.

        Unless it is to rank alone, its substitutes follow, for when an encoder lacks its bundle. A
        bundle that was withdrawn is none.
        Inside none of them is closed, however often the bundle changes. Raises Unavailable
        (NO_BUNDLE) before the first bundle, and FailedPrecondition (BUNDLE_NOT_LOADED).
        """
        chosen = self.held.get(bundle_id)
        others = [] if alone else [*self._candidates, *self.held.all()]
        good = (one for one in others if one.id not in self.held.withdrawn)
        bundles = [chosen, *(one for one in good if one is not chosen)]
        return self.held.using(bundles, [bundle.ranker for bundle in bundles])

    async def first(self, current: str) -> str:
        """Return the bundle to begin with: the current one, as soon as both encoders hold it.

        While they still prepare it, they both hold an earlier bundle: then that one, if the folder
        has it. After `start_wait_s` it is the current one in any case; answers that lack a vector
        say so. In the place of a current one that was withdrawn it is the one that ranked then.
        """
        withdrawal = await asyncio.to_thread(self._withdrawals.of, current)
        withdrawn = current if withdrawal is not None else ""
        if withdrawal is not None:
            current = withdrawal.ranks
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.start_wait_s
        while True:
            held = await held_ids(self._encoders, _ASK_TIMEOUT_S)
            common = [one for one in held["profile"] if one in held["session"] and one != withdrawn]
            if current in common:
                return current
            for other in common:
                if (self._settings.bundles / other).is_dir():
                    _log.warning("begins_with_another", bundle_id=other, current=current)
                    return other
            if loop.time() >= deadline:
                lacking = [name for name, ids in held.items() if current not in ids]
                _log.warning("served_without", bundle_id=current, services=lacking)
                return current
            await asyncio.sleep(_ASK_EVERY_S)

    async def take(self, bundle: Bundle) -> None:
        """Rank with a bundle from now on, once it is warm and both encoders hold it.

        That may take long, and the bundle is loaded once; a call that is cancelled meanwhile
        changes nothing. Raises BundleError when the bundle cannot be served, and (BUNDLE_WITHDRAWN)
        when it was before this process began.
        """
        loaded = self.held.find(bundle.id)
        withdrawal = await asyncio.to_thread(self._withdrawals.of, bundle.id)
        if withdrawal is not None and self.held.served is not None:
            raise BundleError("BUNDLE_WITHDRAWN", withdrawal.problem)
        if loaded is not None:
            await self._until_encoded(bundle.id)
        else:
            loaded = await self._load(bundle)
        self.held.serve(loaded)
        self._probation.begin(bundle.id)
        _log.info("bundle_ranks", bundle_id=bundle.id, items=loaded.ranker.index.num_items)

    def note(self, bundle_id: str, bad: str) -> None:
        """Note an answer, and what is bad about it if anything; go back if too many are bad."""
        problem = self._probation.note(bundle_id, bad)
        before = self.held.go_back(problem) if problem else None
        if before is not None:
            self._probation.end(before.id)
            keep = partial(self._withdrawals.keep, bundle_id, problem, before.id)
            self._keeping = asyncio.get_running_loop().run_in_executor(None, keep)
            count("bundles_withdrawn")
            _log.error("bundle_withdrawn", bundle_id=bundle_id, problem=problem, ranks=before.id)

    async def take_popularity(self) -> None:
        """Let every ranker take over what is popular now."""
        for bundle in (*self.held.all(), *self._candidates):
            await asyncio.to_thread(bundle.ranker.take_popularity)

    async def close(self) -> None:
        """Close what is loaded."""
        if self._keeping is not None:
            await self._keeping
        await self.held.close()

    async def _load(self, bundle: Bundle) -> RankerBundle:
        make = partial(BundleRanker, bundle, self._settings, self._popularity)
        ranker = await asyncio.to_thread(make)
        copies = RankerCopies(ranker, make)
        follower = CatalogueFollower(self._profile, bundle.id, copies, ranker, with_content=True)
        loaded = RankerBundle(bundle.id, bundle.manifest, follower)
        try:
            await ranker.warm_up()
            await loaded.follower.start()
            await loaded.ranker.warm_up()
            if self.held.served is not None:
                self._candidates.append(loaded)
                await self._until_encoded(bundle.id)
        except BaseException:
            self.held.retire(loaded)
            raise
        finally:
            if loaded in self._candidates:
                self._candidates.remove(loaded)
        return loaded

    async def _until_encoded(self, bundle_id: str) -> None:
        """Wait until both encoders hold a bundle, as far as their answers tell.

        Each call may reach another replica, so they are asked several times. A replica that still
        lacks the bundle costs only time: see `in_use`.
        """
        backoff = ExponentialBackoff(_ASK_EVERY_S, _ASK_AT_LEAST_EVERY_S)
        num_answers = 0
        while num_answers < _NUM_ANSWERS:
            held = await held_ids(self._encoders, _ASK_TIMEOUT_S)
            if all(bundle_id in ids for ids in held.values()):
                num_answers += 1
                continue
            num_answers = 0
            await asyncio.sleep(backoff.next_s())
