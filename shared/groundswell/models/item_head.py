"""The item head: an item's vector as the sum of a projected text vector and an id embedding.

v = E_id + W·text. The ID part is dropped at random in training, so that the text alone can place
an item without training events. The last dimension is the item's popularity bias.

B items, t text dimensions, d dimensions of the one space.
"""

import torch
from torch import Tensor, nn

from groundswell.models.layers import Linear


class ItemHead(nn.Module):
    """Text vectors and rows → item vectors.

    A text vector of zeros stands for an item without text: then W adds nothing.
    """

    text_mean_t: Tensor
    text_scale: Tensor

    def __init__(self, num_items: int, dimension: int, text_dimension: int) -> None:
        super().__init__()
        self.ids = nn.Embedding(num_items, dimension)
        self.project = Linear(text_dimension, dimension, bias=False)
        nn.init.normal_(self.ids.weight, std=0.02)
        nn.init.normal_(self.project.weight, std=0.02)
        # Mean-pooled text vectors share one large direction: without it items differ more.
        self.register_buffer("text_mean_t", torch.zeros(text_dimension))
        self.register_buffer("text_scale", torch.ones(()))

    def fit_texts(self, text_vectors_Nt: Tensor) -> None:
        """Centre and scale texts by the catalogue's: each dimension then varies by about 1."""
        known_Nt = text_vectors_Nt[(text_vectors_Nt != 0).any(-1)]
        if len(known_Nt) < 2:
            return
        self.text_mean_t.copy_(known_Nt.mean(0))
        spread = (known_Nt - self.text_mean_t).square().mean().sqrt()
        self.text_scale.copy_(1 / spread.clamp(min=1e-3))

    def forward(self, text_vectors: Tensor, rows: Tensor) -> Tensor:
        """[B, t] text vectors and [B] rows (-1: an item that training did not know) → [B, d]."""
        return self.place(self.normalised(text_vectors), rows)

    def normalised(self, text_vectors: Tensor) -> Tensor:
        """[B, t] text vectors → what W reads; it does not change in training."""
        has_text_B1 = (text_vectors != 0).any(-1, keepdim=True).to(text_vectors.dtype)
        normalised_Bt: Tensor = (text_vectors - self.text_mean_t) * self.text_scale * has_text_B1
        return normalised_Bt

    def place(self, texts_Bt: Tensor, rows: Tensor, keep_ids_B: Tensor | None = None) -> Tensor:
        """Normalised texts [B, t] and rows [B] → item vectors [B, d].

        `keep_ids_B`, where given, is 1 where the ID part is kept and 0 where it is dropped.
        """
        known_B = (rows >= 0).to(texts_Bt.dtype)
        if keep_ids_B is not None:
            known_B = known_B * keep_ids_B
        ids_Bd: Tensor = self.ids(rows.clamp(min=0))
        text_Bd: Tensor = self.project(texts_Bt)
        return text_Bd + known_B[:, None] * ids_Bd
