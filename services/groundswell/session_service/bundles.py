"""Loads new bundles and serves them; earlier bundles stay loaded while they are in use."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import grpc
import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest
from groundswell.common.v1.model_service_pb2 import GetModelRequest
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceStub
from groundswell.runtime.catalogue_follower import CatalogueFollower
from groundswell.runtime.held_bundles import HeldBundles
from groundswell.session_service.catalogue import ItemTables
from groundswell.session_service.encoded_sessions import EncodedSessions
from groundswell.session_service.encoder import SessionEncoder
from groundswell.session_service.items import ItemTable
from groundswell.session_service.settings import SessionSettings
from groundswell.session_service.windows.window import Window

_log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.2
_ASK_TIMEOUT_S = 1.0

MAX_WINDOW_LENGTH = 999
"""A window and the event before it are listed in one page of at most 1,000."""


@dataclass(frozen=True, slots=True)
class SessionBundle:
    """A bundle that is warm: it follows the catalogue, and encodes windows."""

    id: str
    manifest: Manifest
    follower: CatalogueFollower[ItemTable]
    sessions: EncodedSessions

    @property
    def encoder(self) -> SessionEncoder:
        """The encoder of windows."""
        return self.sessions.encoder

    async def close(self) -> None:
        """Stop following and encoding."""
        await self.follower.close()
        await self.encoder.close()


class SessionBundles:
    """Loads new bundles beside the served one, and swaps one reference when they are warm."""

    def __init__(self, profile: grpc.aio.Channel, settings: SessionSettings) -> None:
        self._profile = profile
        self._settings = settings
        self.held: HeldBundles[SessionBundle] = HeldBundles(
            self._load, keep_s=settings.bundle_keep_s, max_held=settings.max_bundles
        )

    @property
    def capacity(self) -> int:
        """How many events a window must hold: the longest window, and the event before it."""
        return 1 + max(bundle.encoder.window_length for bundle in self.held.all())

    def refresh(self, user_mark: bytes, window: Window) -> None:
        """Let the served bundle begin to encode a window that a write changed."""
        served = self.held.served
        if served is not None and served.encoder.items.lineage == window.lineage:
            served.sessions.refresh(user_mark, window)

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the encoded sessions of users."""
        for bundle in self.held.all():
            bundle.sessions.drop(user_marks)

    async def first(self, current: str) -> str:
        """Return the bundle to begin with: the current one, if the profile service holds it.

        While that service still prepares the current one, it serves an earlier one: then that one,
        if the folder has it. Waits for the profile service without a limit.
        """
        model = ModelServiceStub(self._profile)
        while True:
            try:
                answer = await model.GetModel(GetModelRequest(), timeout=_ASK_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(_ASK_EVERY_S)
                continue
            served = answer.model.bundle_id
            if current in answer.loaded_bundle_ids or not self._lies_in_folder(served):
                return current
            _log.warning("begins_with_another", bundle_id=served, current=current)
            return served

    async def take(self, bundle: Bundle) -> None:
        """Load a bundle, wait until its items have come, serve it; the one before stays loaded.

        The items come once the profile service holds the bundle, which may take long. A call that
        is cancelled meanwhile changes nothing. Raises BundleError when it cannot be served.
        """
        self.held.serve(self.held.find(bundle.id) or await self._load(bundle))
        _log.info("bundle_served", bundle_id=bundle.id)

    async def close(self) -> None:
        """Close what is loaded."""
        await self.held.close()

    def _lies_in_folder(self, bundle_id: str) -> bool:
        return bool(bundle_id) and (self._settings.bundles / bundle_id).is_dir()

    async def _load(self, bundle: Bundle) -> SessionBundle:
        manifest, settings = bundle.manifest, self._settings
        if manifest.window_length > MAX_WINDOW_LENGTH:
            message = f"window_length {manifest.window_length} is over {MAX_WINDOW_LENGTH}"
            raise BundleError("BUNDLE_FORMAT", message)
        model = await asyncio.to_thread(bundle.session_model, settings.threads)
        items = ItemTable(manifest.dimension)
        tables = ItemTables(items, bundle.id)
        follower = CatalogueFollower(self._profile, bundle.id, tables, items, with_content=False)
        encoder = SessionEncoder(
            bundle.id,
            model,
            items,
            window_length=manifest.window_length,
            use_time=manifest.use_time,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_queue_bytes,
        )
        sessions = EncodedSessions(
            encoder, max_users=settings.max_windows, max_bytes=settings.max_encoded_bytes
        )
        loaded = SessionBundle(bundle.id, manifest, follower, sessions)
        try:
            await follower.start()
            await encoder.warm_up()
        except BaseException:
            await loaded.close()
            raise
        return loaded
