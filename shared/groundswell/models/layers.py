"""PyTorch layers whose training pass is cheaper; in evaluation mode they are PyTorch's own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 256


class Linear(nn.Linear):
    """`nn.Linear` whose products are bfloat16 in training where `is_half` is True.

    Sums stay float32, and so does everything around it: attention over short windows is slower in
    bfloat16 on CPUs, so a whole autocast would lose what the products win.
    """

    is_half = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear's own name
        """[..., in] → [..., out]."""
        if not (self.training and self.is_half):
            return super().forward(input)
        product = F.linear(input.to(torch.bfloat16), self.weight.to(torch.bfloat16)).float()
        return product if self.bias is None else product + self.bias


class Dropout(nn.Dropout):
    """`nn.Dropout` that draws a byte a value: `p` is rounded to a 256th, below 1.

    Drawing the mask with `bernoulli_` takes longer on a CPU than the layer that it belongs to.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Dropout's own name
        """Any shape → the same, scaled so that the mean stays."""
        dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        if not self.training or dropped == 0:
            return input
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64, device=input.device)
        levels = words.random_(-(2**63), None).view(torch.uint8)[: input.numel()]
        kept = (levels >= dropped).view(input.shape).to(input.dtype)
        return input * (kept * (_LEVELS / (_LEVELS - dropped)))


def use_bfloat16(module: nn.Module) -> None:
    """Let every `Linear` of a model multiply in bfloat16 while it trains."""
    for layer in module.modules():
        if isinstance(layer, Linear):
            layer.is_half = True
