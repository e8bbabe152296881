"""The session Transformer: the short-term vector u_s of a window of newest events.

B windows, L events, T = L + 1 tokens, w width, d dimensions.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.models.event_transformer import EventTransformer
from groundswell.models.layers import Linear


class SessionTransformer(nn.Module):
    """Windows, padded on the right → short-term vectors; the last dimension is 1.

    `window_length` is the number of events that a window has at most.
    """

    def __init__(
        self,
        dimension: int,
        window_length: int,
        *,
        width: int,
        num_blocks: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.events = EventTransformer(
            dimension,
            window_length,
            width=width,
            num_blocks=num_blocks,
            num_heads=num_heads,
            dropout=dropout,
        )
        self.out = Linear(width, dimension - 1)

    def forward(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return [B, d]: the vector after each window's last event.

        item_vectors [B, L, d], actions [B, L] numbers, gaps and starts [B, L] as
        `features.window` makes them, lengths [B] events of each window; 0 is a window of nothing.
        """
        return self.project(self.events.last(item_vectors, actions, gaps, starts, lengths))

    def states(self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor) -> Tensor:
        """Return [B, T, w]: state j is that after the window's first j events."""
        states_BTw: Tensor = self.events(item_vectors, actions, gaps, starts)
        return states_BTw

    def project(self, x_w: Tensor) -> Tensor:
        """[..., w] states → [..., d] vectors in the item space, the last dimension 1."""
        return F.pad(self.out(x_w), (0, 1), value=1.0)
