"""The profile encoder: chunk vectors and the tail of a whole history → the long-term vector u_l.

The tail asks, the chunks answer: one attention layer whose query is made of the unfinished chunk,
with a learned decay by age and a bias by place for each head. It has no state that a later event
would change in an earlier chunk, so that training reads every position of a history in one pass.

B users, P positions of each, N chunks, t text dimensions, w width, H heads, K values per head,
d dimensions of the one space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ProfileEncoder(nn.Module):
    """Chunks and tails → long-term vectors; the last dimension is 1."""

    chunk_mean_t: Tensor
    chunk_scale: Tensor
    tail_mean_t: Tensor
    tail_scale: Tensor

    def __init__(
        self,
        dimension: int,
        text_dimension: int,
        max_chunks: int,
        *,
        width: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.max_chunks = max_chunks
        self.chunk = nn.Linear(text_dimension, width)
        self.tail = nn.Linear(text_dimension, width)
        self.length = nn.Linear(2, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.decay_H = nn.Parameter(torch.linspace(-3.0, 1.0, num_heads))
        self.place = nn.Embedding(max_chunks, num_heads)
        nn.init.zeros_(self.place.weight)
        self.norm = nn.LayerNorm(2 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Sequential(
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, dimension - 1),
        )
        for name, width_t in (("chunk", text_dimension), ("tail", text_dimension)):
            self.register_buffer(f"{name}_mean_t", torch.zeros(width_t))
            self.register_buffer(f"{name}_scale", torch.ones(()))

    def fit(self, chunk_vectors_Mt: Tensor, item_vectors_Mt: Tensor) -> None:
        """Centre and scale the inputs by what training saw, so that each varies by about 1."""
        for name, vectors in (("chunk", chunk_vectors_Mt), ("tail", item_vectors_Mt)):
            if len(vectors) < 2:
                continue
            mean = vectors.mean(0)
            spread = (vectors - mean).square().mean().sqrt().clamp(min=1e-3)
            getattr(self, f"{name}_mean_t").copy_(mean)
            getattr(self, f"{name}_scale").copy_(1 / spread)

    def forward(
        self,
        chunk_vectors: Tensor,
        chunk_ages: Tensor,
        num_chunks: Tensor,
        tail_vectors: Tensor,
        tail_lengths: Tensor,
    ) -> Tensor:
        """Return [B, d], one view of each history.

        chunk_vectors [B, N, t] oldest first, padded on the right; chunk_ages [B, N] of
        `features.chunks`; num_chunks [B]; tail_vectors [B, t]; tail_lengths [B].
        """
        return self.dense(
            chunk_vectors,
            chunk_ages[:, None],
            num_chunks[:, None],
            tail_vectors[:, None],
            tail_lengths[:, None],
        ).squeeze(1)

    def dense(
        self,
        chunks_BNt: Tensor,
        ages_BPN: Tensor,
        num_BP: Tensor,
        tails_BPt: Tensor,
        tail_lengths_BP: Tensor,
        drop_BPN: Tensor | None = None,
    ) -> Tensor:
        """Return [B, P, d]: the view at each position, which has the first num_BP chunks.

        Where `drop_BPN` is True a chunk is left out, as when it was never encoded.
        """
        chunks_BNw = self.chunk((chunks_BNt - self.chunk_mean_t) * self.chunk_scale)
        has_tail_BP1 = (tail_lengths_BP > 0).to(tails_BPt.dtype)[..., None]
        tails_BPt = (tails_BPt - self.tail_mean_t) * self.tail_scale * has_tail_BP1
        lengths_BP2 = torch.log1p(torch.stack([num_BP, tail_lengths_BP], -1).to(tails_BPt.dtype))
        x_BPw = self.tail(tails_BPt) + self.length(lengths_BP2)
        pooled_BPw = self._attend(x_BPw, F.gelu(chunks_BNw), ages_BPN, num_BP, drop_BPN)
        x_BPw = self.norm(self.dropout(torch.cat([F.gelu(x_BPw), pooled_BPw], -1)))
        u_BPd1 = self.out(x_BPw)
        return torch.cat([u_BPd1, torch.ones_like(u_BPd1[..., :1])], -1)

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
