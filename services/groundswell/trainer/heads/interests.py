"""Trains the interest head on frozen vectors, and calibrates it on validation."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundswell.models.interest_head import InterestHead
from groundswell.trainer.loop.run import Run

NAME = "interests"
_EPOCHS = 15
_BATCH = 512
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-4
_TEXT_WEIGHT = 0.3
_CALIBRATION_STEPS = 200
_DEVIATION = 0.3
"""Standard deviation of the log temperature's prior."""
_SURPRISE_LOGIT = -3.0
"""Mean of the prior of the surprise's logit; its standard deviation is 1."""


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
                text = torch.randint(len(item_vectors_Id), (min(_BATCH, len(item_vectors_Id)),))
                text_logits = head.logits(item_vectors_Id[text])
                text_loss = F.cross_entropy(text_logits, item_categories_I[text])
                loss = _TEXT_WEIGHT * text_loss
                # A log may have no position to train on: then only the texts train the head.
                if len(batch):
                    user_logits = head.logits(users_nd[batch])
                    loss = loss + F.cross_entropy(user_logits, categories_n[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            stage.report(epoch, float(np.mean(losses)) if losses else 0.0, None)
    return head.eval()


def calibrate(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> None:
    """Set the head's temperature and surprise so that held-out events have the highest likelihood.

    The head is too confident on new events, most of all where it is very confident: a temperature
    alone (Guo et al. 2017, section 4.2) would leave those answers too confident.
    """
    users_nd, categories_n = _known(users_nd, categories_n)
    if len(users_nd) == 0:
        return
    with torch.no_grad():
        logits_nC = head.logits(users_nd)
    base_rates_C = torch.bincount(categories_n, minlength=logits_nC.shape[1]) / len(categories_n)
    log_temperature = logits_nC.new_zeros((), requires_grad=True)
    surprise_logit = logits_nC.new_full((), _SURPRISE_LOGIT, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_temperature, surprise_logit],
        max_iter=_CALIBRATION_STEPS,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        expected_nC = F.softmax(logits_nC / log_temperature.exp(), -1)
        surprise = surprise_logit.sigmoid()
        found_nC = (1 - surprise) * expected_nC + surprise * base_rates_C
        # The prior counts more where there are few events.
        deviation = (log_temperature / _DEVIATION).square()
        deviation = deviation + (surprise_logit - _SURPRISE_LOGIT).square()
        found = F.nll_loss(found_nC.log(), categories_n) + deviation / (2 * len(logits_nC))
        found.backward()
        return found

    optimizer.step(loss)
    with torch.no_grad():
        head.temperature.copy_(log_temperature.exp())
        head.surprise.copy_(surprise_logit.sigmoid())
        head.base_rates.copy_(base_rates_C)


def _known(vectors: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
    # Vectors that come from inference mode cannot be kept for a backward pass.
    return vectors[categories >= 0].clone(), categories[categories >= 0]
