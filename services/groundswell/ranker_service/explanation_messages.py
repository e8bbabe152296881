"""Writes why an item is in an answer, or why not, as a message of the contract."""

from collections.abc import Iterator

from groundswell.profile.v1.profile_service_pb2 import ExplainProfileResponse
from groundswell.ranker.v1 import ranker_service_pb2 as pb
from groundswell.ranker_service.answers import WEIGHT_SOURCES
from groundswell.ranker_service.catalogue import ItemMetadata
from groundswell.ranker_service.control_messages import item_controls
from groundswell.ranker_service.stages.explain_item import ItemExplanation, Pull
from groundswell.ranker_service.stages.item_ranks import ItemRank, ItemRanks


def item_explained(items: ItemMetadata, found: ItemExplanation) -> pb.ExplainItemResponse:
    """The message of why an item is in an answer, or why not."""
    answer, arranged = found.answer, found.answer.ranked.arranged
    ranks = found.ranks or ItemRanks(None, None, None, 0)
    return pb.ExplainItemResponse(
        item_id=found.item.item_id,
        title=found.item.title,
        place=None if found.place is None else found.place + 1,
        omission=found.omission,
        short=_item_rank(ranks.short),
        long=_item_rank(ranks.long),
        fused=_item_rank(ranks.fused),
        num_items=ranks.num_items,
        window_pulls=map(_pull, found.window_pulls),
        history_pulls=map(_pull, found.history_pulls),
        controls=(
            None
            if arranged is None or found.place is None
            else item_controls(arranged, found.place)
        ),
        fusion_weight=answer.fusion_weight,
        fusion_weight_source=WEIGHT_SOURCES[answer.fusion_weight_origin],
        bundle_id=answer.bundle_id,
        degradations=answer.degradations,
        event_pulls=_event_pulls(items, found.effects),
        chunk_pulls=_chunk_pulls(found.effects),
    )


def _item_rank(one: ItemRank | None) -> pb.ItemRank | None:
    return None if one is None else pb.ItemRank(rank=one.rank, score=one.score)


def _event_pulls(
    items: ItemMetadata, effects: ExplainProfileResponse | None
) -> Iterator[pb.EventPull]:
    for one in () if effects is None else effects.events:
        item = items.get(one.item_no)
        yield pb.EventPull(
            item_id="" if item is None else item.item_id,
            title="" if item is None else item.title,
            time=one.time,
            effect=one.effect,
        )


def _chunk_pulls(effects: ExplainProfileResponse | None) -> Iterator[pb.ChunkPull]:
    for one in () if effects is None else effects.chunks:
        yield pb.ChunkPull(last_event_time=one.last_event_time, effect=one.effect)


def _pull(one: Pull) -> pb.Pull:
    return pb.Pull(
        item_id=one.item.item_id,
        title=one.item.title,
        neighbour_score=one.neighbour_score,
        similarity=one.similarity,
    )
