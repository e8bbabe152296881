"""Trains the interest head on frozen vectors, and calibrates its temperature on validation."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundswell.models.interest_head import InterestHead
from groundswell.trainer.run import Run

NAME = "interests"
_EPOCHS = 15
_BATCH = 512
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-4
_TEXT_WEIGHT = 0.3
_CALIBRATION_STEPS = 200


def train_interests(
    users_nd: Tensor,
    categories_n: Tensor,
    item_vectors_Id: Tensor,
    item_categories_I: Tensor,
    num_categories: int,
    run: Run,
) -> InterestHead:
    """Train on users' vectors against their next item's primary category, and on items' own text.

    A category of -1 (an item without any) is left out.
    """
    head = InterestHead(users_nd.shape[1], num_categories).to(run.device)
    optimizer = torch.optim.Adam(head.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    users_nd, categories_n = _known(users_nd, categories_n)
    item_vectors_Id, item_categories_I = _known(item_vectors_Id, item_categories_I)
    with run.stage(NAME, _EPOCHS) as stage:
        for epoch in range(1, _EPOCHS + 1):
            losses = []
            for batch in torch.randperm(len(users_nd)).split(_BATCH):
                loss = F.cross_entropy(head.logits(users_nd[batch]), categories_n[batch])
                text = torch.randint(len(item_vectors_Id), (min(_BATCH, len(item_vectors_Id)),))
                text_logits = head.logits(item_vectors_Id[text])
                text_loss = F.cross_entropy(text_logits, item_categories_I[text])
                loss = loss + _TEXT_WEIGHT * text_loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            stage.report(epoch, float(np.mean(losses)) if losses else 0.0, None)
    return head.eval()


def calibrate(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> None:
    """Set the temperature that gives held-out events the highest likelihood."""
    users_nd, categories_n = _known(users_nd, categories_n)
    if len(users_nd) == 0:
        return
    with torch.no_grad():
        logits = head.logits(users_nd)
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([log_temperature], lr=0.05)
    for _ in range(_CALIBRATION_STEPS):
        loss = F.cross_entropy(logits / log_temperature.exp(), categories_n)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.temperature.copy_(log_temperature.detach().exp())


def _known(vectors: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
    # Vectors that come from inference mode cannot be kept for a backward pass.
    return vectors[categories >= 0].clone(), categories[categories >= 0]
