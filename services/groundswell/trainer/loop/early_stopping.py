"""Keeps a model's weights of its best epoch, and says when to stop training."""

import math

from torch import Tensor, nn


class EarlyStopping:
    """Stops after `patience` epochs without a higher score; `best` are the weights of the best."""

    def __init__(self, patience: int, module: nn.Module) -> None:
        self.best_score, self.best_epoch = -math.inf, 0
        self.best: dict[str, Tensor] = {}
        self.epoch = 0
        """The last one that was scored."""
        self._patience = patience
        self._module = module

    @property
    def should_stop(self) -> bool:
        """True when the last `patience` epochs were no better than the best one before them."""
        return self.epoch - self.best_epoch >= self._patience

    def update(self, epoch: int, score: float) -> None:
        """Record an epoch's score; where it is the highest so far, copy the module's weights."""
        self.epoch = epoch
        if score > self.best_score:
            self.best_score, self.best_epoch = score, epoch
            self._copy_weights()

    def restore_best(self) -> None:
        """Load the best epoch's weights into the module."""
        self._module.load_state_dict(self.best)

    def _copy_weights(self) -> None:
        for name, value in self._module.state_dict().items():
            # In place where possible: the weights may be as large as the catalogue.
            if name in self.best:
                self.best[name].copy_(value)
            else:
                self.best[name] = value.detach().clone()
