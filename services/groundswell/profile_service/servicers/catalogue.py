"""Serves CatalogueService."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from groundswell.common.v1 import item_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceServicer
from groundswell.profile_service.bundles.loaded import ProfileBundles
from groundswell.profile_service.catalogue import StoredCatalogue, UpsertMode
from groundswell.profile_service.servicers.item_messages import item_content, item_message
from groundswell.profile_service.servicers.pages import decode_token, encode_token
from groundswell.profile_service.servicers.sizes import fitting_runs
from groundswell.profile_service.staging import Stages
from groundswell.profile_service.store.items import ItemContent, ItemText, KnownItem
from groundswell.serving.around import Context
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.validation import check_item_id, check_page_size
from groundswell.serving.vectors import vector_to_proto

MAX_ITEMS = 1_000
MAX_PAGE_SIZE = 1_000
DEFAULT_PAGE_SIZE = 100
_STAGE = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class CatalogueServicer(CatalogueServiceServicer):
    """The contract is in catalogue_service.proto."""

    def __init__(self, catalogue: StoredCatalogue, stages: Stages, bundles: ProfileBundles) -> None:
        self._catalogue = catalogue
        self._stages = stages
        self._bundles = bundles

    async def UpsertItems(
        self, request: pb.UpsertItemsRequest, context: Context
    ) -> pb.UpsertItemsResponse:
        """Write items, all or none."""
        contents = _contents(request.items)
        if request.mode not in pb.UpsertMode.values():
            raise InvalidArgument("MODE_INVALID", f"mode {request.mode} is unknown", field="mode")
        item_nos, revision = await self._catalogue.upsert(contents, UpsertMode(request.mode))
        return pb.UpsertItemsResponse(item_nos=item_nos, revision=revision)

    async def DeleteItems(
        self, request: pb.DeleteItemsRequest, context: Context
    ) -> pb.DeleteItemsResponse:
        """Delete items."""
        _check_count(request.item_ids, "item_ids")
        for index, item_id in enumerate(request.item_ids):
            check_item_id(item_id, f"item_ids[{index}]")
        num_deleted, revision = await self._catalogue.delete(request.item_ids)
        return pb.DeleteItemsResponse(num_deleted=num_deleted, revision=revision)

    async def StageItems(
        self, request: pb.StageItemsRequest, context: Context
    ) -> pb.StageItemsResponse:
        """Prepare items aside."""
        stage, contents = _stage(request.stage), _contents(request.items)
        return pb.StageItemsResponse(num_staged=await self._stages.put(stage, contents))

    async def CommitStage(
        self, request: pb.CommitStageRequest, context: Context
    ) -> pb.CommitStageResponse:
        """Show what was prepared."""
        committed = await self._stages.commit(
            _stage(request.stage), delete_others=request.delete_others
        )
        return pb.CommitStageResponse(**committed._asdict())

    async def DropStage(
        self, request: pb.DropStageRequest, context: Context
    ) -> pb.DropStageResponse:
        """Forget what was prepared."""
        return pb.DropStageResponse(num_dropped=await self._stages.drop(_stage(request.stage)))

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        """Return one item."""
        check_item_id(request.item_id)
        return pb.GetItemResponse(item=item_message(await self._catalogue.get(request.item_id)))

    async def ListItems(
        self, request: pb.ListItemsRequest, context: Context
    ) -> pb.ListItemsResponse:
        """List the items by number."""
        limit = check_page_size(request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        place = decode_token(request.page_token, (int,))
        after_no = int(place.values[0]) if place else 0
        found, lineage = await self._catalogue.list(after_no, limit)
        if place is not None:
            place.check(lineage)
        shown = next(fitting_runs(map(item_message, found.items)), [])
        is_last = not found.more and len(shown) == len(found.items)
        token = "" if is_last else encode_token(lineage, shown[-1].item_no)
        return pb.ListItemsResponse(items=shown, next_page_token=token)

    async def WatchItems(
        self, request: pb.WatchItemsRequest, context: Context
    ) -> AsyncIterator[pb.WatchItemsResponse]:
        """Follow the catalogue."""
        if request.since_revision < 0:
            message = f"since_revision {request.since_revision} is negative"
            raise InvalidArgument("REVISION_INVALID", message, field="since_revision")
        models = self._bundles.held.get(request.bundle_id)
        with_content = request.with_content if request.HasField("with_content") else True
        fingerprint = models.spec.fingerprint
        following = self._catalogue.watch(request.since_revision, fingerprint, request.lineage)
        async with aclosing(following) as watched:
            async for changes in watched:
                vectors = await models.vectors_of_items(
                    [
                        ItemText(item.item_no, item.content.item_id, item.text_vector)
                        for item in changes.items
                        if item.text_vector is not None and not item.deleted
                    ]
                )
                messages = (
                    _change(item, vectors.get(item.item_no), models.id, with_content=with_content)
                    for item in changes.items
                )
                reset = changes.reset
                for run in fitting_runs(messages) if changes.items else [[]]:
                    revision = run[-1].item.revision if run else changes.revision
                    yield pb.WatchItemsResponse(
                        changes=run,
                        revision=revision,
                        caught_up=changes.caught_up and revision == changes.revision,
                        lineage=changes.lineage,
                        reset=reset,
                    )
                    reset = False


def _contents(items: Sequence[item_pb2.Item]) -> list[ItemContent]:
    """Read the items of a request, each id once."""
    _check_count(items, "items")
    contents = [item_content(item, f"items[{n}]") for n, item in enumerate(items)]
    first: dict[str, int] = {}
    for index, content in enumerate(contents):
        if first.setdefault(content.item_id, index) != index:
            message = f"items[{index}] has the item_id of items[{first[content.item_id]}]"
            raise InvalidArgument("ITEMS_INVALID", message, field=f"items[{index}].item_id")
    return contents


def _stage(name: str) -> str:
    if not _STAGE.fullmatch(name):
        message = "stage must be 1 to 64 characters of a-z, A-Z, 0-9, _, - and ."
        raise InvalidArgument("STAGE_INVALID", message, field="stage")
    return name


def _check_count(values: Sequence[object], field: str) -> None:
    if not 1 <= len(values) <= MAX_ITEMS:
        message = f"{field} has {len(values)}; it must have 1 to {MAX_ITEMS}"
        raise InvalidArgument("ITEMS_INVALID", message, field=field)


def _change(
    item: KnownItem,
    vector: NDArray[np.float32] | None,
    bundle_id: str,
    *,
    with_content: bool,
) -> pb.ItemChange:
    if item.deleted or not with_content:
        message = item_pb2.Item(
            item_id=item.content.item_id, item_no=item.item_no, revision=item.revision
        )
    else:
        message = item_message(item)
    return pb.ItemChange(
        item=message,
        deleted=item.deleted,
        vector=item_pb2.Vector(bundle_id=bundle_id)
        if vector is None
        else vector_to_proto(vector, bundle_id),
    )
