"""The interest head: a vector of the one space → calibrated probabilities of the categories.

It reads the direction alone, so that a user's vector and an item's may both be asked; the last
dimension, the popularity bias, says nothing about taste.

B vectors, d dimensions, C categories.
"""

import torch
from torch import Tensor, nn


class InterestHead(nn.Module):
    """P(c | u) = (1 − surprise) · softmax((W·u/|u| + b) / temperature) + surprise · base rate(c).

    However clear a taste is, some events have nothing to do with it.
    """

    temperature: Tensor
    surprise: Tensor
    base_rates: Tensor

    def __init__(self, dimension: int, num_categories: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimension - 1, num_categories)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("surprise", torch.zeros(()))
        self.register_buffer("base_rates", torch.full((num_categories,), 1 / num_categories))

    def logits(self, vectors_Bd: Tensor) -> Tensor:
        """[B, C] before the temperature and without surprise."""
        taste = vectors_Bd[:, :-1]
        scale = taste.square().sum(-1, keepdim=True).clamp(min=1e-12).rsqrt()
        logits: Tensor = self.linear(taste * scale)
        return logits

    def forward(self, vectors: Tensor) -> Tensor:
        """Return [B, C] probabilities."""
        expected = torch.softmax(self.logits(vectors) / self.temperature, -1)
        return (1 - self.surprise) * expected + self.surprise * self.base_rates
