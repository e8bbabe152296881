"""Holds the bundles that a server answers for: the served one, and earlier ones in use."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import Manifest
from groundswell.serving.errors import FailedPrecondition, Unavailable
from groundswell.serving.telemetry import gauge, replace_info

_log = structlog.get_logger(__name__)

_SWEEP_EVERY_S = 5.0


class LoadedBundle(Protocol):
    """A bundle whose models are loaded and warm."""

    @property
    def id(self) -> str: ...

    @property
    def manifest(self) -> Manifest: ...

    async def close(self) -> None: ...


B = TypeVar("B", bound=LoadedBundle)
T = TypeVar("T")


class _Uses:
    """The calls that use one bundle."""

    def __init__(self) -> None:
        self.num = 0
        self.ended: asyncio.Event | None = None
        """To be set when none is left; None while nobody waits for it."""


class _Using(Generic[T]):
    """Counts a call as one that uses some bundles, and gives it something."""

    def __init__(self, uses: dict[int, _Uses], bundles: Sequence[object], given: T) -> None:
        self._uses = uses
        self._bundles = bundles
        self._given = given

    def __enter__(self) -> T:
        for bundle in self._bundles:
            self._uses.setdefault(id(bundle), _Uses()).num += 1
        return self._given

    def __exit__(self, *error: object) -> None:
        for bundle in self._bundles:
            uses = self._uses[id(bundle)]
            uses.num -= 1
            if uses.num == 0:
                del self._uses[id(bundle)]
                if uses.ended is not None:
                    uses.ended.set()


class HeldBundles(Generic[B]):
    """Holds the served bundle, the one before it for a swap back at once, and earlier ones.

    An earlier bundle stays until no call has asked for it for `keep_s`: a ranker may rank with it
    until all services have the new one. At most `max_held` bundles stay; the one that was asked for
    longest ago is dropped first. Bundles that variants name are held beside these as long as they
    are wanted. `load` makes a bundle ready to be held, and raises BundleError. A bundle that is
    dropped is closed when the calls that use it have ended.
    """

    def __init__(
        self,
        load: Callable[[Bundle], Awaitable[B]],
        *,
        keep_s: float,
        max_held: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._keep_s = keep_s
        self._max_held = max_held
        self._clock = clock
        self._held: list[B] = []
        """The served one first, the others by when they were last served."""
        self._beside: list[B] = []
        """Those that are held because they are wanted, and for no other reason."""
        self._wanted: frozenset[str] = frozenset()
        self.withdrawn: dict[str, str] = {}
        """Why the bundle that was served last is not any more, by its id; see `go_back`."""
        self._asked_at: dict[str, float] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._uses: dict[int, _Uses] = {}
        """By the identity of a bundle: the same id may be loaded twice."""
        self._retiring: dict[asyncio.Task[None], B] = {}

    @property
    def served(self) -> B | None:
        """The bundle that is served; None before the first."""
        return self._held[0] if self._held else None

    @property
    def has_one_before(self) -> bool:
        """Whether there is a bundle to go back to at once."""
        return len(self._held) > 1

    def all(self) -> list[B]:
        """Return what is held, the served one first."""
        return [*self._held, *self._beside]

    def ids(self) -> list[str]:
        """Name what is held, the served one first."""
        return [bundle.id for bundle in self.all()]

    def served_model(self) -> tuple[str, Manifest]:
        """Return the id and the manifest of the served bundle. Raises Unavailable (NO_BUNDLE)."""
        bundle = self.get("")
        return bundle.id, bundle.manifest

    def find(self, bundle_id: str) -> B | None:
        """Return a bundle if it is held. It does not count as asked for."""
        return next((bundle for bundle in self.all() if bundle.id == bundle_id), None)

    def get(self, bundle_id: str) -> B:
        """Return a bundle that a call asks for, the served one for an empty id.

        Raises FailedPrecondition (BUNDLE_NOT_LOADED), and Unavailable (NO_BUNDLE) before the first.
        """
        if not self._held:
            raise Unavailable("NO_BUNDLE", "no bundle is loaded yet")
        found = self.find(bundle_id) if bundle_id else self._held[0]
        if found is None:
            raise FailedPrecondition(
                "BUNDLE_NOT_LOADED", f"bundle {bundle_id!r} is not loaded", field="bundle_id"
            )
        self._asked_at[found.id] = self._clock()
        return found

    def asked_for(self, bundle_id: str) -> AbstractContextManager[B]:
        """Give the bundle that a call asks for, as `get`; inside it is not closed."""
        bundle = self.get(bundle_id)
        return self.using((bundle,), bundle)

    def using(self, bundles: Sequence[B], given: T) -> AbstractContextManager[T]:
        """Give something; inside no bundle of these is closed, though it may be dropped."""
        return _Using(self._uses, bundles, given)

    def retire(self, bundle: B) -> None:
        """Close a bundle as soon as no call uses it, unless it is held again by then."""
        task = asyncio.create_task(self._close_unused(bundle))
        self._retiring[task] = bundle
        task.add_done_callback(self._retiring.pop)

    def is_asked_for(self, bundle: B) -> bool:
        """Whether a bundle is served or wanted, or was asked for within `keep_s`."""
        age_s = self._clock() - self._asked_at.get(bundle.id, -float("inf"))
        return bundle is self.served or bundle.id in self._wanted or age_s < self._keep_s

    def want(self, bundle_ids: Collection[str]) -> None:
        """Hold these bundles as long as they are named; drop others that were held for that."""
        self._wanted = frozenset(bundle_ids)
        unwanted = [one for one in self._beside if one.id not in self._wanted]
        self._beside = [one for one in self._beside if one.id in self._wanted]
        for one in unwanted:
            self._asked_at.pop(one.id, None)
            self.retire(one)

    async def take_beside(self, bundle: Bundle) -> None:
        """Load a bundle, and hold it beside the served one as long as it is wanted."""
        if self.find(bundle.id) is not None:
            return
        loaded = await self._load(bundle)
        if bundle.id in self._wanted and self.find(bundle.id) is None:
            self._beside.append(loaded)
            _log.info("bundle_beside", bundle_id=bundle.id)
        else:
            self.retire(loaded)

    async def take_before(self, bundle: Bundle) -> None:
        """Load the bundle that was served before this process started, and hold it as that.

        One whose text encoder or chunks differ is left out: a worker would have to encode for it.
        """
        served = self.served
        needed = bundle.manifest.chunk_spec
        if served is None or served.manifest.chunk_spec != needed:
            _log.info("previous_bundle_left_out", bundle_id=bundle.id)
            return
        loaded = await self._load(bundle)
        if self.has_one_before or self.find(bundle.id) is not None:
            self.retire(loaded)
        else:
            self._held.append(loaded)
            _log.info("previous_bundle_held", bundle_id=bundle.id)

    def serve(self, bundle: B) -> None:
        """Serve a bundle from now on, in one step; bundles out of use are closed later."""
        if self._held:
            # It counts as asked for now: rankers may go on with it for `keep_s`.
            self._asked_at[self._held[0].id] = self._clock()
        self.withdrawn = {}
        self._held = [bundle, *(one for one in self._held if one.id != bundle.id)]
        for one in [one for one in self._beside if one.id == bundle.id]:
            self._beside.remove(one)
            if one is not bundle:
                self.retire(one)
        self._asked_at[bundle.id] = self._clock()
        replace_info("bundle_info", bundle_id=bundle.id)
        gauge("bundles_held", len(self._held))
        if len(self._held) > 2 and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = asyncio.create_task(self._sweep())

    def go_back(self, problem: str) -> B | None:
        """Serve the bundle before the served one again, and return it; None without one."""
        if len(self._held) < 2:
            return None
        left, before = self._held[:2]
        self.serve(before)
        self.withdrawn = {left.id: problem}
        return before

    def take_out_unused(self) -> list[B]:
        """Stop holding the bundles out of use; return them to be closed."""
        earlier = sorted(self._held[2:], key=lambda one: -self._asked_at.get(one.id, 0.0))
        kept = [one for one in earlier if self.is_asked_for(one)][: max(self._max_held - 2, 0)]
        left = [one for one in self._held[2:] if one not in kept]
        self._held = [one for one in self._held if one not in left]
        self._beside += [one for one in left if one.id in self._wanted]
        unused = [one for one in left if one.id not in self._wanted]
        for one in unused:
            self._asked_at.pop(one.id, None)
        gauge("bundles_held", len(self._held))
        return unused

    async def close(self) -> None:
        """Close what is held."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for bundle in (*self.all(), *retiring.values()):
            await bundle.close()
        self._held, self._beside = [], []

    async def _sweep(self) -> None:
        while True:
            for bundle in self.take_out_unused():
                self.retire(bundle)
            if len(self._held) <= 2:
                return
            await asyncio.sleep(min(_SWEEP_EVERY_S, self._keep_s))

    async def _close_unused(self, bundle: B) -> None:
        while (uses := self._uses.get(id(bundle))) is not None:
            uses.ended = uses.ended or asyncio.Event()
            await uses.ended.wait()
        if all(one is not bundle for one in self.all()):
            await bundle.close()
