"""Attention of heads with a bias, which an exported model has as one operation.

B rows, Q tokens that ask, T that are read, H heads, w width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    q_BQw: Tensor, k_BTw: Tensor, v_BTw: Tensor, bias_BHQT: Tensor, num_heads: int
) -> Tensor:
    """Return [B, Q, w]: the values that each token reads, by softmax(q k / sqrt(w / H) + bias).

    A first dimension of 1 of the bias stands for a bias that is the same in every row.
    """
    if torch.onnx.is_in_onnx_export():
        apply: Any = _Exported.apply
        exported: Tensor = apply(q_BQw, k_BTw, v_BTw, bias_BHQT, num_heads)
        return exported
    return _attend(q_BQw, k_BTw, v_BTw, bias_BHQT, num_heads)


def _attend(
    q_BQw: Tensor, k_BTw: Tensor, v_BTw: Tensor, bias_BHQT: Tensor, num_heads: int
) -> Tensor:
    B, Q, w = q_BQw.shape
    q_BHQK, k_BHTK, v_BHTK = (
        x.reshape(B, x.shape[1], num_heads, -1).transpose(1, 2) for x in (q_BQw, k_BTw, v_BTw)
    )
    scores_BHQT = q_BHQK @ k_BHTK.transpose(-1, -2) * (w // num_heads) ** -0.5
    weights_BHQT = F.softmax(scores_BHQT + bias_BHQT, -1)
    return (weights_BHQT @ v_BHTK).transpose(1, 2).reshape(B, Q, w)


class _Exported(torch.autograd.Function):
    """onnxruntime's own operation: for one short window, fourteen small ones take longer."""

    @staticmethod
    def forward(_: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int) -> Tensor:
        return _attend(q, k, v, bias, num_heads)

    @staticmethod
    def symbolic(graph: Any, q: Any, k: Any, v: Any, bias: Any, num_heads: int) -> Any:
        none = graph.op("prim::Constant")
        none.setType(torch.OptionalType.ofTensor())
        inputs = (q, k, v, none, none, bias)
        made = graph.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=num_heads)
        made.setType(q.type())
        return made
