"""The event Transformer: a state after each event, of the events up to it.

A causal Transformer after SASRec (Kang and McAuley 2018), with a learned bias per head and distance
instead of absolute positions, so that every position of a training window teaches the last one. A
start token comes first: its state stands for a user without events. The session encoder and the
profile encoder both read events with it, each with weights of its own.

B windows, L events, T = L + 1 tokens, Q of them that ask, H heads, w width, d dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.features.actions import NUM_ACTIONS
from groundswell.models.attention import attend
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
        final = self.blocks[-1]
        assert isinstance(final, _Block)
        last_Bw: Tensor = self.norm(final.at(x_BTw, lengths))
        return last_Bw

    def _tokens(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor
    ) -> Tensor:
        """Return the tokens [B, T, w]: the start, then the events."""
        x_BLw = self.item(item_vectors) + self.action(actions)
        # log(1 + seconds) reaches 20 in a long gap: scaled to the size of a flag.
        x_BLw = x_BLw + self.time(torch.stack([gaps / 10, starts], -1))
        start_B1w = self.start_w.expand_as(x_BLw[:, :1])
        x_BTw: Tensor = self.dropout(self.input_norm(torch.cat([start_B1w, x_BLw], 1)))
        return x_BTw


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int, num_distances: int, dropout: float) -> None:
        super().__init__()
        self.width, self.num_heads = width, num_heads
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
        T = x_BTw.shape[1]
        q_BTw, k_BTw, v_BTw = self.qkv(self.attention_norm(x_BTw)).split(self.width, -1)
        bias_1HTT = self._bias_HTT()[None, :, :T, :T]
        return self._finish(x_BTw, attend(q_BTw, k_BTw, v_BTw, bias_1HTT, self.num_heads))

    def at(self, x_BTw: Tensor, place_B: Tensor) -> Tensor:
        """Return [B, w]: what `forward` returns at one place of each row."""
        w = self.width
        x_B1w = x_BTw.gather(1, place_B[:, None, None].expand_as(x_BTw[:, :1]))
        q_B1w = F.linear(self.attention_norm(x_B1w), self.qkv.weight[:w], self.qkv.bias[:w])
        kv_BTx = F.linear(self.attention_norm(x_BTw), self.qkv.weight[w:], self.qkv.bias[w:])
        k_BTw, v_BTw = kv_BTx.split(w, -1)
        bias_BHT = self._bias_HTT().transpose(0, 1)[place_B, :, : x_BTw.shape[1]]
        pooled_B1w = attend(q_B1w, k_BTw, v_BTw, bias_BHT[:, :, None], self.num_heads)
        last_Bw: Tensor = self._finish(x_B1w, pooled_B1w)[:, 0]
        return last_Bw

    def _finish(self, x_BQw: Tensor, pooled_BQw: Tensor) -> Tensor:
        x_BQw = x_BQw + self.dropout(self.attention_out(pooled_BQw))
        mlp_BQw: Tensor = self.mlp(self.mlp_norm(x_BQw))
        out_BQw: Tensor = x_BQw + self.dropout(mlp_BQw)
        return out_BQw

    def _bias_HTT(self) -> Tensor:
        """What each token of a longest window adds to the scores of those up to itself.

        Negative infinity for those after it. In an export this is a constant.
        """
        place_T = torch.arange(self.distance.num_embeddings, device=self.distance.weight.device)
        distance_TT = place_T[:, None] - place_T
        bias_HTT: Tensor = self.distance(distance_TT.clamp(min=0)).permute(2, 0, 1)
        return bias_HTT.masked_fill(distance_TT < 0, float("-inf"))
