"""Writes why an item is in an answer, or why not, as a message of the contract."""

from groundswell.ranker.v1 import ranker_service_pb2 as pb
from groundswell.ranker_service.answers import WEIGHT_SOURCES
from groundswell.ranker_service.control_messages import item_controls
from groundswell.ranker_service.stages.explain_item import ItemExplanation, Pull
from groundswell.ranker_service.stages.item_ranks import ItemRank, ItemRanks


def item_explained(found: ItemExplanation) -> pb.ExplainItemResponse:
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
        fusion_weight_source=WEIGHT_SOURCES[answer.ranked.origin],
        bundle_id=answer.bundle_id,
        degradations=answer.degradations,
    )


def _item_rank(one: ItemRank | None) -> pb.ItemRank | None:
    return None if one is None else pb.ItemRank(rank=one.rank, score=one.score)


def _pull(one: Pull) -> pb.Pull:
    return pb.Pull(
        item_id=one.item.item_id,
        title=one.item.title,
        neighbour_score=one.neighbour_score,
        similarity=one.similarity,
    )
