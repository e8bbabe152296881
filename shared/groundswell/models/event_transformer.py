"""The event Transformer: a state after each event, of the events up to it.

A causal Transformer after SASRec (Kang and McAuley 2018), with a learned bias per head and distance
instead of absolute positions, so that every position of a training window teaches the last one. A
start token comes first: its state stands for a user without events. The session encoder and the
profile encoder both read events with it, each with weights of its own.

B windows, L events, T = L + 1 tokens, H heads, K values per head, w width, d dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.features.actions import NUM_ACTIONS
from groundswell.models.layers import Dropout, Linear


class EventTransformer(nn.Module):
    """Windows of at most `window_length` events, padded on the right → states."""

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
        self.start_w = nn.Parameter(torch.randn(width) * 0.02)
        self.item = Linear(dimension, width)
        self.action = nn.Embedding(NUM_ACTIONS, width)
        self.time = Linear(2, width, bias=False)
        nn.init.normal_(self.action.weight, std=0.02)
        nn.init.normal_(self.time.weight, std=0.02)
        self.input_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(width, num_heads, window_length + 1, dropout) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor
    ) -> Tensor:
        """Return [B, T, w]: state j is that after the window's first j events.

        item_vectors [B, L, d], actions [B, L] numbers, gaps and starts [B, L] as
        `features.window` makes them.
        """
        x_BLw = self.item(item_vectors) + self.action(actions)
        # log(1 + seconds) reaches 20 in a long gap: scaled to the size of a flag.
        x_BLw = x_BLw + self.time(torch.stack([gaps / 10, starts], -1))
        start_B1w = self.start_w.expand(x_BLw.shape[0], 1, -1)
        x_BTw = self.dropout(self.input_norm(torch.cat([start_B1w, x_BLw], 1)))
        # True where a token (row) may look at a token (column). Padding lies on the right, after
        # every token that counts, so the causal mask hides it too.
        position_T = torch.arange(x_BTw.shape[1], device=x_BTw.device)
        distance_TT = position_T[:, None] - position_T[None, :]
        for block in self.blocks:
            x_BTw = block(x_BTw, distance_TT)
        states_BTw: Tensor = self.norm(x_BTw)
        return states_BTw

    def last(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return [B, w]: the state after each window's last event; lengths [B] may be 0."""
        states_BTw = self(item_vectors, actions, gaps, starts)
        index_B1w = lengths[:, None, None].expand(-1, 1, states_BTw.shape[2])
        last_Bw: Tensor = states_BTw.gather(1, index_B1w).squeeze(1)
        return last_Bw


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int, num_distances: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.attention_out = Linear(width, width)
        self.distance = nn.Embedding(num_distances, num_heads)
        nn.init.zeros_(self.distance.weight)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            Linear(width, 2 * width),
            nn.GELU(),
            Dropout(dropout),
            Linear(2 * width, width),
        )
        self.dropout = Dropout(dropout)

    def forward(self, x_BTw: Tensor, distance_TT: Tensor) -> Tensor:
        x_BTw = x_BTw + self.dropout(self._attend(self.attention_norm(x_BTw), distance_TT))
        mlp_BTw: Tensor = self.mlp(self.mlp_norm(x_BTw))
        out_BTw: Tensor = x_BTw + self.dropout(mlp_BTw)
        return out_BTw

    def _attend(self, x_BTw: Tensor, distance_TT: Tensor) -> Tensor:
        B, T, w = x_BTw.shape
        qkv = self.qkv(x_BTw).reshape(B, T, 3, self.num_heads, w // self.num_heads)
        q_BHTK, k_BHTK, v_BHTK = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        # In a window longer than the model's, such as an exporter's example, farther events get the
        # bias of the farthest position.
        farthest = self.distance.num_embeddings - 1
        bias_HTT = self.distance(distance_TT.clamp(0, farthest)).permute(2, 0, 1)
        bias_HTT = bias_HTT.masked_fill(distance_TT < 0, float("-inf"))
        scores_BHTT = q_BHTK @ k_BHTK.transpose(-1, -2) * (w // self.num_heads) ** -0.5
        weights_BHTT = F.softmax(scores_BHTT + bias_HTT, -1)
        x_BTw = (weights_BHTT @ v_BHTK).transpose(1, 2).reshape(B, T, w)
        out_BTw: Tensor = self.attention_out(x_BTw)
        return out_BTw
