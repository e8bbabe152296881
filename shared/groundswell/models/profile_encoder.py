"""The profile encoder: a whole history → the long-term vector u_l.

The sum of three parts. Two read the newest events as context vectors, which are item vectors for
histories, apart from those that are recommended: the sum of these vectors, which ignores the order
and so needs little data, and a causal Transformer. The third reads the whole history as text: the
Transformer's state after the newest event is the query of one attention layer over the encoded
chunks, with a learned decay by age and a bias by place for each head. Later events change no state
at an earlier position, so that training reads every position of a history in one pass.

B users, P positions of each, N chunks, M recent events, c context and t text dimensions, w width,
H heads, K values per head, d dimensions of the one space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.models.event_transformer import EventTransformer
from groundswell.models.layers import Dropout, Linear


class ProfileEncoder(nn.Module):
    """Histories → long-term vectors; the last dimension is 1.

    `max_chunks` and `recent_length` are the most chunks and recent events that it reads.
    """

    def __init__(
        self,
        dimension: int,
        text_dimension: int,
        context_dimension: int,
        max_chunks: int,
        recent_length: int,
        *,
        width: int,
        num_blocks: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.events = EventTransformer(
            context_dimension,
            recent_length,
            width=width,
            num_blocks=num_blocks,
            num_heads=num_heads,
            dropout=dropout,
        )
        self.chunks = ChunkReader(text_dimension, max_chunks, width, num_heads, dropout)
        self.out = Linear(width, dimension - 1)
        self.out_sum = Linear(context_dimension, dimension - 1, bias=False)
        self.out_text = Linear(width, dimension - 1, bias=False)
        # Texts start without effect: training adds theirs to that of the events.
        nn.init.zeros_(self.out_text.weight)

    def forward(
        self,
        chunk_vectors: Tensor,
        chunk_ages: Tensor,
        num_chunks: Tensor,
        recent_vectors: Tensor,
        recent_actions: Tensor,
        recent_gaps: Tensor,
        recent_starts: Tensor,
        recent_lengths: Tensor,
    ) -> Tensor:
        """Return [B, d], one long-term vector for each history.

        chunk_vectors [B, N, t] oldest first, padded on the right; chunk_ages [B, N] of
        `features.chunks`; num_chunks [B]; recent_vectors [B, M, c] contexts of the newest events,
        oldest first, padded on the right; recent_actions, recent_gaps and recent_starts [B, M] of
        `features.window`; recent_lengths [B].
        """
        states_Bw = self.events.last(
            recent_vectors, recent_actions, recent_gaps, recent_starts, recent_lengths
        )
        place_M = torch.arange(recent_vectors.shape[1], device=recent_vectors.device)
        real_BM1 = (place_M < recent_lengths[:, None]).to(recent_vectors.dtype)[..., None]
        count_B1 = recent_lengths[:, None].to(recent_vectors.dtype)
        sums_Bc = (recent_vectors * real_BM1).sum(1) / count_B1.clamp(min=1).sqrt()
        texts_B1w = self.chunks(
            states_Bw[:, None], chunk_vectors, chunk_ages[:, None], num_chunks[:, None]
        )
        return self.project(states_Bw, sums_Bc, texts_B1w.squeeze(1))

    def sums(self, contexts_BMc: Tensor) -> Tensor:
        """Return [B, M + 1, c]: the sum of the first j events at j, over the root of j."""
        sums_BTc = F.pad(contexts_BMc.cumsum(1), (0, 0, 1, 0))
        count_T1 = torch.arange(sums_BTc.shape[1], device=sums_BTc.device)[:, None]
        return sums_BTc / count_T1.clamp(min=1).sqrt()

    def project(self, states_w: Tensor, sums_c: Tensor, texts_w: Tensor | None) -> Tensor:
        """Findings [..., w], [..., c] and [..., w] → [..., d] vectors, the last dimension 1.

        They are of `events`, `sums` and `chunks`; without the last no text counts.
        """
        u_d1 = self.out(states_w) + self.out_sum(sums_c)
        if texts_w is not None:
            u_d1 = u_d1 + self.out_text(texts_w)
        return F.pad(u_d1, (0, 1), value=1.0)


class ChunkReader(nn.Module):
    """Attention of states over the encoded chunks of a history → [B, P, w]."""

    mean_t: Tensor
    scale: Tensor

    def __init__(
        self, text_dimension: int, max_chunks: int, width: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.max_chunks = max_chunks
        self.project = Linear(text_dimension, width)
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.decay_H = nn.Parameter(torch.linspace(-3.0, 1.0, num_heads))
        self.place = nn.Embedding(max_chunks, num_heads)
        nn.init.zeros_(self.place.weight)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.register_buffer("mean_t", torch.zeros(text_dimension))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, chunk_vectors_Mt: Tensor) -> None:
        """Centre and scale chunks by those of training: each value then has a variance of 1."""
        if len(chunk_vectors_Mt) < 2:
            return
        self.mean_t.copy_(chunk_vectors_Mt.mean(0))
        spread = (chunk_vectors_Mt - self.mean_t).square().mean().sqrt()
        self.scale.copy_(1 / spread.clamp(min=1e-3))

    def forward(
        self,
        states_BPw: Tensor,
        chunks_BNt: Tensor,
        ages_BPN: Tensor,
        num_BP: Tensor,
        drop_BPN: Tensor | None = None,
    ) -> Tensor:
        """Return [B, P, w]: what each position reads, whose history has the first num_BP chunks.

        `states_BPw` are the queries. Where `drop_BPN` is True a chunk is left out, as when it was
        never encoded; zeros where a position has none.
        """
        chunks_BNw = F.gelu(self.project((chunks_BNt - self.mean_t) * self.scale))
        pooled_BPw = self._attend(states_BPw, chunks_BNw, ages_BPN, num_BP, drop_BPN)
        read_BPw: Tensor = self.dropout(self.norm(pooled_BPw))
        return read_BPw * (num_BP > 0)[..., None]

    def _attend(
        self,
        x_BPw: Tensor,
        chunks_BNw: Tensor,
        ages_BPN: Tensor,
        num_BP: Tensor,
        drop_BPN: Tensor | None,
    ) -> Tensor:
        B, P, w = x_BPw.shape
        H, K = self.num_heads, w // self.num_heads
        q_BHPK = self.query(x_BPw).reshape(B, P, H, K).transpose(1, 2)
        k_BHNK = self.key(chunks_BNw).reshape(B, -1, H, K).transpose(1, 2)
        v_BHNK = self.value(chunks_BNw).reshape(B, -1, H, K).transpose(1, 2)
        # Place 0 is the newest chunk that a position has; what it does not have is negative.
        place_BPN = num_BP[..., None] - 1 - torch.arange(ages_BPN.shape[2], device=x_BPw.device)
        known_BPN = (place_BPN >= 0) & (place_BPN < self.max_chunks)
        if drop_BPN is not None:
            known_BPN = known_BPN & ~drop_BPN
        bias_BPNH = self.place(place_BPN.clamp(0, self.max_chunks - 1))
        bias_BPNH = bias_BPNH - F.softplus(self.decay_H) * ages_BPN[..., None]
        scores_BHPN = q_BHPK @ k_BHNK.transpose(-1, -2) * K**-0.5 + bias_BPNH.permute(0, 3, 1, 2)
        known_BHPN = known_BPN[:, None]
        # A position without any chunk attends to nothing: its weights are zeros, not NaN.
        scores_BHPN = scores_BHPN.masked_fill(~known_BHPN, -1e9)
        weights_BHPN = F.softmax(scores_BHPN, -1) * known_BHPN
        pooled_BPHK: Tensor = (weights_BHPN @ v_BHNK).transpose(1, 2)
        return pooled_BPHK.reshape(B, P, w)
