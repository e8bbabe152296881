"""Attention of sequences that stand one after the other in one row, so that none is padded.

`torch.nn.attention.varlen` computes it on a GPU in half precision; elsewhere each sequence is
computed by itself. It is registered with transformers under the name `packed`, for models that take
their attention from its `AttentionInterface`.

h heads · T tokens of all sequences · e values of a head
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PACKED = "packed"


def packed_attention(
    _: object,
    query_1hTe: Tensor,
    key_1hTe: Tensor,
    value_1hTe: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers names it
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    """Return [1, T, h, e]; sequence n is [cu_seq_lens_q[n], cu_seq_lens_q[n + 1])."""
    if query_1hTe.is_cuda and query_1hTe.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x[0].transpose(0, 1) for x in (query_1hTe, key_1hTe, value_1hTe))
        ends, most = cu_seq_lens_q, max_length_q
        return cast(Tensor, varlen_attn(q, k, v, ends, ends, most, most, scale=scaling))[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(x.split(lengths, dim=2) for x in (query_1hTe, key_1hTe, value_1hTe)), strict=True)
    alone = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts]
    return torch.cat(alone, dim=2).transpose(1, 2), None


def register_packed_attention() -> None:
    """Let `set_attn_implementation("packed")` choose it."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
