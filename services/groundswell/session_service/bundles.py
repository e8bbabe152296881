"""The bundles that the session service can answer for: the served one and the one before it."""

import asyncio
from dataclasses import dataclass

import grpc
import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest
from groundswell.serving.errors import FailedPrecondition, Unavailable
from groundswell.session_service.answers import StoredViews
from groundswell.session_service.catalogue import CatalogueFollower
from groundswell.session_service.encoder import SessionEncoder
from groundswell.session_service.settings import SessionSettings
from groundswell.session_service.windows import Window

_log = structlog.get_logger(__name__)

MAX_WINDOW_LENGTH = 999
"""A window and the event before it are listed in one page of at most 1,000."""

_SWAP_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """One bundle, warm: its items are followed, its windows encoded, its views stored."""

    id: str
    manifest: Manifest
    follower: CatalogueFollower
    views: StoredViews

    @property
    def encoder(self) -> SessionEncoder:
        """What encodes the windows."""
        return self.views.encoder

    async def close(self) -> None:
        """Stop following and encoding."""
        await self.follower.close()
        await self.encoder.close()


class LoadedBundles:
    """Takes new bundles beside the served one, and swaps one reference when they are warm."""

    def __init__(self, profile: grpc.aio.Channel, settings: SessionSettings) -> None:
        self._profile = profile
        self._settings = settings
        self._current: LoadedBundle | None = None
        self._previous: LoadedBundle | None = None

    def get(self, bundle_id: str) -> LoadedBundle:
        """Return a loaded bundle, the served one for an empty id.

        Raises FailedPrecondition (BUNDLE_NOT_LOADED), and Unavailable (NO_BUNDLE) before the first.
        """
        if self._current is None:
            raise Unavailable("NO_BUNDLE", "no bundle is loaded yet")
        if bundle_id in ("", self._current.id):
            return self._current
        if self._previous is not None and bundle_id == self._previous.id:
            return self._previous
        raise FailedPrecondition(
            "BUNDLE_NOT_LOADED", f"bundle {bundle_id!r} is not loaded", field="bundle_id"
        )

    def served(self) -> tuple[str, Manifest]:
        """Return the id and the manifest of the served bundle. Raises Unavailable (NO_BUNDLE)."""
        bundle = self.get("")
        return bundle.id, bundle.manifest

    def loaded_ids(self) -> list[str]:
        """Name the bundles that are loaded, the served one first."""
        return [bundle.id for bundle in self.loaded()]

    def loaded(self) -> list[LoadedBundle]:
        """Return the bundles that are loaded, the served one first."""
        return [bundle for bundle in (self._current, self._previous) if bundle is not None]

    @property
    def capacity(self) -> int:
        """How many events a window must hold: the longest window, and the event before it."""
        return 1 + max(bundle.encoder.window_length for bundle in self.loaded())

    def refresh(self, user_key: bytes, window: Window) -> None:
        """Let the served bundle begin to encode a window that a write changed."""
        if self._current is not None:
            self._current.views.refresh(user_key, window)

    async def take(self, bundle: Bundle) -> None:
        """Load a bundle, wait until its items have come, serve it; the one before stays loaded.

        Raises BundleError when it cannot be served, and TimeoutError when the profile service does
        not give its items in time; the first bundle is waited for without end.
        """
        if self._previous is not None and self._previous.id == bundle.id:
            self._current, self._previous = self._previous, self._current
        else:
            loaded = await self._load(bundle)
            dropped, self._previous, self._current = self._previous, self._current, loaded
            if dropped is not None:
                await dropped.close()
        _log.info("bundle_served", bundle_id=bundle.id)

    async def close(self) -> None:
        """Close what is loaded."""
        for bundle in self.loaded():
            await bundle.close()

    async def _load(self, bundle: Bundle) -> LoadedBundle:
        manifest, settings = bundle.manifest, self._settings
        if manifest.window_length > MAX_WINDOW_LENGTH:
            message = f"window_length {manifest.window_length} is over {MAX_WINDOW_LENGTH}"
            raise BundleError("BUNDLE_FORMAT", message)
        model = await asyncio.to_thread(bundle.session_model, settings.threads)
        follower = CatalogueFollower(self._profile, bundle.id, manifest.dimension)
        encoder = SessionEncoder(
            bundle.id,
            model,
            follower.items,
            window_length=manifest.window_length,
            use_time=manifest.use_time,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
        )
        views = StoredViews(encoder, settings.max_windows)
        loaded = LoadedBundle(bundle.id, manifest, follower, views)
        try:
            await follower.start(None if self._current is None else _SWAP_TIMEOUT_S)
            await encoder.warm_up()
        except BaseException:
            await loaded.close()
            raise
        return loaded
