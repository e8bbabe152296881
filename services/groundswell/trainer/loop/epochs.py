"""Trains a stage epoch after epoch: steps, the mean of the weights, the best epoch so far."""

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
    """Train up to `epochs`, as long as they get better, and leave the best one in the mean of
    the weights.

    `steps` yields an epoch's losses, and of how many targets each is the mean; of several processes
    each yields its part of them, and their sums are reported. `score` judges that mean, the same in
    every process; where it says None, or with `is_fixed`, the last epoch is the best one.
    """
    best = training.best
    with run.stage(training.name, epochs) as stage:
        run.progress.update(stage.task, completed=training.epoch)
        while training.epoch < epochs and not training.is_over:
            total, count = 0.0, 0
            for loss, n in steps():
                training.updates.step(loss)
                total, count = total + loss.item() * n, count + n
            training.updates.settle()
            training.epoch += 1
            total = run.workers.total(total)
            ndcg = score()
            stage.report(training.epoch, total / max(count, 1), ndcg)
            judged_by = training.epoch if ndcg is None or is_fixed else ndcg
            training.is_over = best.is_over(training.epoch, judged_by)
            checkpoints.save(training)
    best.restore()
    run.epochs[training.name] = best.epoch
