"""Which bundle ranks: loads a new one beside it, waits for both encoders, swaps one reference."""

import asyncio
from dataclasses import dataclass

import grpc
import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import Manifest
from groundswell.ranker_service.engine import Engine
from groundswell.ranker_service.follower import CatalogueFollower
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.upstreams import Upstreams
from groundswell.serving.errors import Unavailable

_log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.2
_ASK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class LoadedBundle:
    """One bundle that is warm and follows the catalogue."""

    engine: Engine
    follower: CatalogueFollower

    @property
    def id(self) -> str:
        """The bundle's id."""
        return self.engine.space.bundle_id

    async def close(self) -> None:
        """Stop following and ranking."""
        await self.follower.close()
        await self.engine.close()


class LoadedBundles:
    """Holds the bundle that ranks and the one before it, for a swap back at once."""

    def __init__(
        self, profile: grpc.aio.Channel, upstreams: Upstreams, settings: RankerSettings
    ) -> None:
        self._profile = profile
        self._upstreams = upstreams
        self._settings = settings
        self._current: LoadedBundle | None = None
        self._previous: LoadedBundle | None = None

    def current(self) -> Engine:
        """Return what ranks now. Raises Unavailable (NO_BUNDLE) before the first bundle."""
        if self._current is None:
            raise Unavailable("NO_BUNDLE", "no bundle is loaded yet")
        return self._current.engine

    def served(self) -> tuple[str, Manifest]:
        """Return the id and the manifest of what ranks now. Raises Unavailable (NO_BUNDLE)."""
        engine = self.current()
        return engine.space.bundle_id, engine.manifest

    def loaded_ids(self) -> list[str]:
        """Name the bundles that are loaded, the one that ranks first."""
        held = (self._current, self._previous)
        return [bundle.id for bundle in held if bundle is not None]

    async def take(self, bundle: Bundle) -> None:
        """Rank with a bundle from now on, once it is warm and both encoders hold it.

        The first bundle is served after a while even when an encoder does not hold it: its answers
        then lack that view, and say so. Raises BundleError when the bundle cannot be served, and
        TimeoutError when the encoders or the items do not come in time: the old one ranks on.
        """
        if self._previous is not None and self._previous.id == bundle.id:
            await self._until_encoded(bundle.id)
            self._current, self._previous = self._previous, self._current
        else:
            loaded = await self._load(bundle)
            dropped, self._previous, self._current = self._previous, self._current, loaded
            if dropped is not None:
                await dropped.close()
        _log.info("bundle_ranks", bundle_id=bundle.id, items=self.current().index.num_items)

    async def close(self) -> None:
        """Close what is loaded."""
        for bundle in (self._current, self._previous):
            if bundle is not None:
                await bundle.close()

    async def _load(self, bundle: Bundle) -> LoadedBundle:
        engine = await asyncio.to_thread(Engine, bundle, self._settings)
        loaded = LoadedBundle(engine, CatalogueFollower(self._profile, engine))
        is_first = self._current is None
        try:
            await engine.warm_up()
            await self._until_encoded(bundle.id)
            await loaded.follower.start(None if is_first else self._settings.swap_wait_s)
            await engine.warm_up()
        except BaseException:
            await loaded.close()
            raise
        return loaded

    async def _until_encoded(self, bundle_id: str) -> None:
        """Wait until both encoders hold a bundle: vectors of two bundles are never mixed."""
        is_first = self._current is None
        wait_s = self._settings.start_wait_s if is_first else self._settings.swap_wait_s
        deadline = asyncio.get_running_loop().time() + wait_s
        while lacking := await self._upstreams.lacking(bundle_id, _ASK_TIMEOUT_S):
            if asyncio.get_running_loop().time() >= deadline:
                if not is_first:
                    raise TimeoutError(f"{lacking} did not load the bundle in {wait_s} s")
                _log.warning("served_without", bundle_id=bundle_id, services=lacking)
                return
            await asyncio.sleep(_ASK_EVERY_S)
