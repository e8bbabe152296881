"""Serves a service that follows a folder of bundles, from its first log line to its end."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import grpc

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore
from groundswell.common.v1 import model_service_pb2_grpc
from groundswell.runtime.bundle_follower import BundleFollower
from groundswell.runtime.held_bundles import HeldBundles
from groundswell.runtime.variants_follower import VariantsFollower
from groundswell.serving.health import Health
from groundswell.serving.model_servicer import ModelServicer
from groundswell.serving.overload import NO_ADMISSIONS, Admissions
from groundswell.serving.server import serve
from groundswell.serving.settings import ServingSettings

_MODEL_SERVICE = "groundswell.common.v1.ModelService"


class Closable(Protocol):
    """A part of a process that is closed at its end."""

    async def close(self) -> None: ...


async def serve_bundles(
    settings: ServingSettings,
    add_servicers: Callable[[grpc.aio.Server], Sequence[str]],
    *,
    take: Callable[[Bundle], Awaitable[None]],
    first: Callable[[str], Awaitable[str]],
    variants: VariantsFollower,
    held: HeldBundles[Any] | None,
    holds_previous: bool = False,
    begin: Sequence[Callable[[], Awaitable[object]]] = (),
    close: Sequence[Closable],
    health: Health | None = None,
    admissions: Admissions = NO_ADMISSIONS,
) -> None:
    """Serve until SIGTERM or SIGINT.

    `take` and `first` are for the follower of bundles (see BundleFollower), `variants` follows the
    bundles beside them. `add_servicers` adds the servicers and returns their full service names;
    with `held`, the ModelService tells of the bundles in it. With `holds_previous` the bundle that
    was current before is loaded after the start, and held as after a swap: a ranker may have gone
    back to it. The steps of `begin` are taken before the first bundle is loaded, and the parts of
    `close` are closed at the end, both in their order. The rest is as for `serve`.
    """
    store = BundleStore(settings.bundles)
    follower = BundleFollower(store, settings.bundle_poll_s, take, first=first)
    previous: BundleFollower | None = None
    if held is not None and holds_previous:
        lacking = partial(_lacking_previous, store, held)
        previous = BundleFollower(store, settings.bundle_poll_s, held.take_before, read=lacking)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        names = add_servicers(server)
        if held is None:
            return names
        servicer = ModelServicer(
            held.served_model, held.ids, lambda: {**follower.refused(), **held.withdrawn}
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
        return (*names, _MODEL_SERVICE)

    async def ready() -> None:
        for step in (*begin, follower.start, variants.start):
            await step()
        if previous is not None:
            previous.begin()

    async def close_all() -> None:
        parts: tuple[Closable | None, ...] = (previous, variants, follower, *close)
        for part in parts:
            if part is not None:
                await part.close()

    await serve(
        settings, register, ready=ready, close=close_all, health=health, admissions=admissions
    )


def _lacking_previous(store: BundleStore, held: HeldBundles[Any]) -> str | None:
    """Return the previous bundle if none is held before the current one, which is served."""
    served = held.served
    if served is None or held.has_one_before or served.id != store.current():
        return None
    return store.previous()
