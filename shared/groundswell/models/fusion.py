"""The fusion gate: weighs the short-term against the long-term vector of a user.

u = α∘u_s + (1 − α)∘u_l, with α from a gate that reads both vectors and features of the request,
but no candidate item: so one search of the index serves any α.

B users, d dimensions, G features of the gate.
"""

import torch
from torch import Tensor, nn

_STRETCH = 1.2


class FusionGate(nn.Module):
    """α = σ(MLP[u_s, u_l, features]): one number for all dimensions, or one per dimension.

    It starts as the constant `alpha`. Features are scaled by the ranges that training saw.
    """

    low_G: Tensor
    range_G: Tensor

    def __init__(
        self,
        dimension: int,
        num_features: int,
        *,
        width: int,
        per_dimension: bool,
        alpha: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.norm = nn.LayerNorm(2 * dimension, elementwise_affine=False)
        self.features = nn.Linear(num_features, width)
        self.vectors = nn.Linear(2 * dimension, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, dimension if per_dimension else 1)
        nn.init.zeros_(self.out.weight)
        start = torch.tensor((alpha + (_STRETCH - 1) / 2) / _STRETCH)
        nn.init.constant_(self.out.bias, float(torch.logit(start, eps=0.02)))
        self.register_buffer("low_G", torch.zeros(num_features))
        self.register_buffer("range_G", torch.ones(num_features))

    def fit(self, low_G: Tensor, high_G: Tensor) -> None:
        """Set the ranges of the features."""
        self.low_G.copy_(low_G)
        self.range_G.copy_((high_G - low_G).clamp(min=1e-3))

    def forward(self, short_vectors: Tensor, long_vectors: Tensor, gate_features: Tensor) -> Tensor:
        """[B, d], [B, d] and clamped [B, G] → [B, d] weights of the short-term vector in [0, 1]."""
        vectors_B2d = self.norm(torch.cat([short_vectors, long_vectors], -1))
        features_BG = (gate_features - self.low_G) / self.range_G * 2 - 1
        x_Bw = torch.tanh(self.features(features_BG) + self.vectors(self.dropout(vectors_B2d)))
        # Stretched beyond 0 and 1 and clamped there (Louizos et al. 2018): a sigmoid never reaches
        # 0 or 1, and where one vector is far better even a little of the other does harm.
        alphas = (torch.sigmoid(self.out(x_Bw)) * _STRETCH - (_STRETCH - 1) / 2).clamp(0, 1)
        return alphas.expand(-1, self.dimension)
