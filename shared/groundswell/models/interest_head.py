"""The interest head: calibrated probabilities of the categories for a vector of the one space.

It reads only the direction of a vector, so that it takes vectors of users and of items; the last
dimension, the popularity bias, is left out.

B vectors, d dimensions, C categories.
"""

import torch
from torch import Tensor, nn


class InterestHead(nn.Module):
    """P(c | u) = (1 − surprise) · softmax((W·u/|u| + b) / temperature) + surprise · base rate(c).

    The surprise stands for events that have nothing to do with a user's taste.
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
