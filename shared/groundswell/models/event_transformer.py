"""The event Transformer: a state after each event, of the events up to it.

A causal Transformer after SASRec (Kang and McAuley 2018), with a learned bias per head and distance
instead of absolute positions, so that every position of a training window teaches the last one. A
start token comes first: its state stands for a user without events. The session encoder and the
profile encoder both read events with it, each with weights of its own.

B windows, L events, T = L + 1 tokens, Q of them that ask, H heads, K values per head, w width,
d dimensions.
"""

from typing import cast

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
        x_BTw = self._tokens(item_vectors, actions, gaps, starts)
        for block in self.blocks:
            x_BTw = block(x_BTw)
        states_BTw: Tensor = self.norm(x_BTw)
        return states_BTw

    def last(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return [B, w]: the state after each window's last event; lengths [B] may be 0.

        The same as `forward` at that place, but the last block computes no other one.
        """
        x_BTw = self._tokens(item_vectors, actions, gaps, starts)
        for block in self.blocks[:-1]:
            x_BTw = block(x_BTw)
        final = cast(_Block, self.blocks[-1])
        last_Bw: Tensor = self.norm(final.at(x_BTw, lengths))
        return last_Bw

    def _tokens(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor
    ) -> Tensor:
        """Return the tokens [B, T, w]: the start, then the events."""
        x_BLw = self.item(item_vectors) + self.action(actions)
        # log(1 + seconds) reaches 20 in a long gap: scaled to the size of a flag.
        x_BLw = x_BLw + self.time(torch.stack([gaps / 10, starts], -1))
        start_B1w = self.start_w.expand(x_BLw.shape[0], 1, -1)
        x_BTw: Tensor = self.dropout(self.input_norm(torch.cat([start_B1w, x_BLw], 1)))
        return x_BTw


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

    def forward(self, x_BTw: Tensor) -> Tensor:
        """Return [B, T, w]: each token attends to itself and to those before it.

        Padding lies on the right, after every token that counts, so none of these attends to it.
        """
        q_BTw, k_BTw, v_BTw = self.qkv(self.attention_norm(x_BTw)).chunk(3, -1)
        place_1T = torch.arange(x_BTw.shape[1], device=x_BTw.device)[None]
        return self._finish(x_BTw, self._attend(q_BTw, k_BTw, v_BTw, place_1T))

    def at(self, x_BTw: Tensor, place_B: Tensor) -> Tensor:
        """Return [B, w]: what `forward` returns at one place of each row."""
        w = x_BTw.shape[2]
        index_B1w = place_B[:, None, None].expand(-1, 1, w)
        normed_BTw = self.attention_norm(x_BTw)
        q_B1w = F.linear(normed_BTw.gather(1, index_B1w), self.qkv.weight[:w], self.qkv.bias[:w])
        kv_BTx = F.linear(normed_BTw, self.qkv.weight[w:], self.qkv.bias[w:])
        k_BTw, v_BTw = kv_BTx.chunk(2, -1)
        pooled_B1w = self._attend(q_B1w, k_BTw, v_BTw, place_B[:, None])
        return self._finish(x_BTw.gather(1, index_B1w), pooled_B1w).squeeze(1)

    def _finish(self, x_BQw: Tensor, pooled_BQw: Tensor) -> Tensor:
        x_BQw = x_BQw + self.dropout(self.attention_out(pooled_BQw))
        mlp_BQw: Tensor = self.mlp(self.mlp_norm(x_BQw))
        out_BQw: Tensor = x_BQw + self.dropout(mlp_BQw)
        return out_BQw

    def _attend(self, q_BQw: Tensor, k_BTw: Tensor, v_BTw: Tensor, place_BQ: Tensor) -> Tensor:
        """Return [B, Q, w]: what the tokens at `place_BQ` read of those up to themselves.

        A first dimension of 1 stands for places that are the same in every row.
        """
        B, Q, w = q_BQw.shape
        q_BHQK, k_BHTK, v_BHTK = (
            x.reshape(B, x.shape[1], self.num_heads, -1).transpose(1, 2)
            for x in (q_BQw, k_BTw, v_BTw)
        )
        distance_BQT = place_BQ[..., None] - torch.arange(k_BTw.shape[1], device=q_BQw.device)
        # In a window longer than the model's, such as an exporter's example, farther events get the
        # bias of the farthest position.
        farthest = self.distance.num_embeddings - 1
        bias_BHQT = self.distance(distance_BQT.clamp(0, farthest)).permute(0, 3, 1, 2)
        bias_BHQT = bias_BHQT.masked_fill((distance_BQT < 0)[:, None], float("-inf"))
        scores_BHQT = q_BHQK @ k_BHTK.transpose(-1, -2) * (w // self.num_heads) ** -0.5
        weights_BHQT = F.softmax(scores_BHQT + bias_BHQT, -1)
        return (weights_BHQT @ v_BHTK).transpose(1, 2).reshape(B, Q, w)
