"""The text encoder: any Hugging Face encoder, mean-pooled over a text's real tokens."""

import torch
from torch import Tensor, nn

# B texts · T tokens · t the encoder's width


class TextEncoder(nn.Module):
    """Token ids → one vector per text, as sentence encoders of the BERT family are trained.

    `encoder` is a Hugging Face model whose output has `last_hidden_state` [B, T, t].
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [B, t] float32 means of the last layer; mask 1 means a real token."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden_BTt: Tensor = output.last_hidden_state.float()
        mask_BT1 = attention_mask[..., None].to(hidden_BTt.dtype)
        return (hidden_BTt * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)

    @torch.inference_mode()
    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `forward`, without gradients, back on the CPU; inputs may lie anywhere."""
        device = next(self.parameters()).device
        vectors: Tensor = self(input_ids.to(device), attention_mask.to(device))
        return vectors.cpu()
