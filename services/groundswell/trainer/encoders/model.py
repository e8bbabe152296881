"""The model that is trained as one: items as targets, items in histories, both user encoders."""

from torch import nn

from groundswell.models.item_head import ItemHead
from groundswell.models.profile_encoder import ProfileEncoder
from groundswell.models.session_transformer import SessionTransformer
from groundswell.trainer.config import TrainConfig


class JointModel(nn.Module):
    """One module, so that one EMA and one checkpoint hold all of it."""

    def __init__(
        self, num_items: int, text_dimension: int, recent_length: int, config: TrainConfig
    ) -> None:
        super().__init__()
        d = config.dimension
        self.item_head = ItemHead(num_items, d, text_dimension)
        self.context_head = ItemHead(num_items, config.width, text_dimension)
        self.session = SessionTransformer(
            d,
            config.window_length,
            width=config.width,
            num_blocks=config.num_blocks,
            num_heads=config.num_heads,
            dropout=config.dropout,
        )
        self.profile = ProfileEncoder(
            d,
            text_dimension,
            config.width,
            config.max_chunks,
            recent_length,
            width=config.width,
            num_blocks=config.profile_blocks,
            num_heads=config.num_heads,
            dropout=config.dropout,
        )

    @property
    def heads(self) -> tuple[ItemHead, ItemHead]:
        """The heads of both kinds of item vectors."""
        return self.item_head, self.context_head
