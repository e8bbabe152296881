"""A small server on the project's own server code, whose items ask for what tests want to see."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1 import catalogue_service_pb2_grpc as pb_grpc
from groundswell.serving.errors import InvalidArgument, NotFound, ResourceExhausted
from groundswell.serving.server import StartError, run, serve
from groundswell.serving.settings import ServingSettings, load_settings
from groundswell.serving.validation import check_item_id

SERVICE = "groundswell.profile.v1.CatalogueService"


class ProbeSettings(ServingSettings):
    """The settings of every server."""

    port: int = 0


class Probe(pb_grpc.CatalogueServiceServicer):
    """GetItem does as the item's id says; WatchItems never ends, and of "flood" never pauses."""

    StageItems: Any = None
    CommitStage: Any = None
    DropStage: Any = None

    async def GetItem(self, request: pb.GetItemRequest, context: Any) -> pb.GetItemResponse:
        kind, _, argument = request.item_id.partition(":")
        match kind:
            case "":
                check_item_id(request.item_id)
            case "slow":
                await asyncio.sleep(float(argument))
            case "missing":
                raise NotFound("ITEM_NOT_FOUND", f"there is no item {argument!r}")
            case "wrong":
                raise InvalidArgument("ITEM_ID_INVALID", "item_id is wrong", field="item_id")
            case "busy":
                raise ResourceExhausted("OVERLOADED", "busy", retry_after_s=float(argument))
            case "bug":
                raise RuntimeError(f"the password is {argument}")
            case "timeout":
                await asyncio.wait_for(asyncio.sleep(60), 0.01)
            case "abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "as it said itself")
        response = pb.GetItemResponse()
        response.item.item_id = request.item_id
        return response

    async def UpsertItems(
        self,
        request: pb.UpsertItemsRequest,
        context: Any,  # noqa: ARG002 - gRPC's signature
    ) -> pb.UpsertItemsResponse:
        return pb.UpsertItemsResponse(item_nos=range(1, len(request.items) + 1), revision=1)

    async def DeleteItems(
        self,
        request: pb.DeleteItemsRequest,
        context: Any,  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteItemsResponse:
        return pb.DeleteItemsResponse(num_deleted=len(request.item_ids), revision=2)

    async def ListItems(
        self,
        request: pb.ListItemsRequest,
        context: Any,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListItemsResponse:
        if request.page_token == "large":
            return pb.ListItemsResponse(items=[change.item for change in _large().changes])
        page = int(request.page_token or "0")
        response = pb.ListItemsResponse(next_page_token=str(page + 1) if page < 2 else "")
        response.items.add(item_id=f"item {page}", item_no=page + 1)
        return response

    async def WatchItems(
        self,
        request: pb.WatchItemsRequest,
        context: Any,  # noqa: ARG002 - gRPC's signature
    ) -> AsyncIterator[pb.WatchItemsResponse]:
        if request.since_revision < 0:
            raise InvalidArgument(
                "REVISION_INVALID", "since_revision is negative", field="since_revision"
            )
        yield pb.WatchItemsResponse(revision=request.since_revision, caught_up=True)
        while request.bundle_id == "flood":
            yield _large()
        await asyncio.Event().wait()


def _large() -> pb.WatchItemsResponse:
    """A message that does not fit into what a connection sends ahead of its reader."""
    message = pb.WatchItemsResponse(revision=1)
    message.changes.add().item.description = "x" * 1_000_000
    return message


async def main() -> None:
    """Serve, once the file PROBE_READY_FILE exists; PROBE_BROKEN makes it fail."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        pb_grpc.add_CatalogueServiceServicer_to_server(Probe(), server)
        return [SERVICE]

    async def ready() -> None:
        while not Path(os.environ.get("PROBE_READY_FILE", __file__)).exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.02)
        if "PROBE_BROKEN" in os.environ:
            raise StartError("NO_CURRENT", "the folder has no current bundle")

    async def close() -> None:
        if "PROBE_CLOSE_FILE" in os.environ:
            with open(os.environ["PROBE_CLOSE_FILE"], "a") as file:  # noqa: ASYNC230, PTH123
                file.write("closed\n")

    await serve(load_settings(ProbeSettings), register, ready=ready, close=close)


if __name__ == "__main__":
    run(main())
