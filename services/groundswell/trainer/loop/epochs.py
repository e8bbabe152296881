"""Trains one stage epoch after epoch, with early stopping and a checkpoint after each epoch."""

from collections.abc import Callable, Iterator

from torch import Tensor

from groundswell.trainer.loop.checkpoint import Checkpoints, Training
from groundswell.trainer.loop.run import Run


def train_epochs(
    training: Training,
    epochs: int,
    steps: Callable[[], Iterator[tuple[Tensor, int]]],
    score: Callable[[], float | None],
    run: Run,
    checkpoints: Checkpoints,
    *,
    is_fixed: bool = False,
) -> None:
    """Train at most `epochs`, until early stopping; the EMA then holds the best epoch's weights.

    `steps` yields each loss of an epoch and the number of targets that it is the mean of; each
    process yields its part of a loss, and their sums are reported. `score` evaluates the EMA, with
    the same result in every process; where it returns None, or with `is_fixed`, the last epoch
    counts as the best one.
    """
    stopping = training.stopping
    with run.stage(training.name, epochs) as stage:
        run.progress.update(stage.task, completed=stopping.epoch)
        while stopping.epoch < epochs and not stopping.should_stop:
            epoch = stopping.epoch + 1
            total, count = 0.0, 0
            for loss, n in steps():
                training.optimizer.step(loss)
                total, count = total + loss.item() * n, count + n
            training.optimizer.settle()
            total = run.processes.total(total)
            ndcg = score()
            stage.report(epoch, total / max(count, 1), ndcg)
            stopping.update(epoch, epoch if ndcg is None or is_fixed else ndcg)
            checkpoints.save(training)
    stopping.restore_best()
    run.epochs[training.name] = stopping.best_epoch
