"""What torchrun runs in tests/model/trainer/loop/test_distributed.py: `python -m` this, FOLDER.

Each process trains every case and leaves what it ends with in FOLDER.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.loop import losses as loss
from groundswell.trainer.loop.checkpoint import Checkpoints, Training
from groundswell.trainer.loop.distributed import Processes, open_processes
from groundswell.trainer.ranking.validation import Validation
from tests.support.encoders import SETTINGS, InterruptionError, Outcome, train_encoders

# Five windows a step are three for one process and two for the other, and at the end of an epoch
# there may be one alone.
DROPPING = (*SETTINGS, "batch_windows=5", "warmup_steps=0")
KEEPING = (
    *DROPPING,
    *(
        "dropout=0",
        "id_dropout=0",
        "event_dropout=0",
        "history_dropout=0",
        "chunk_dropout=0",
        "text_dropout=0",
    ),
)
SMALL, LARGE, WHOLE, RESUMED = "small", "large", "whole", "resumed"
LARGE_FROM, NEGATIVES = 10, "negatives=8"


class EndingCheckpoints(Checkpoints):
    """Ends the run after its second epoch that is done since it started."""

    left = 2

    def save(self, training: Training) -> None:
        """Save, then count."""
        super().save(training)
        self.left -= 1
        if self.left == 0:
            raise InterruptionError


def interrupted(prepared: Prepared, folder: Path, processes: Processes) -> Outcome:
    """Train with an end after the second epoch and after the fourth, the profile's first one."""
    for resume in (False, True):
        try:
            train_encoders(
                Validation(prepared),
                prepared,
                folder,
                DROPPING,
                resume=resume,
                checkpoints=EndingCheckpoints,
                processes=processes,
            )
        except InterruptionError:
            # Nobody reads the checkpoint before it is written.
            processes.from_first(lambda: None)
    return train_encoders(
        Validation(prepared), prepared, folder, DROPPING, resume=True, processes=processes
    )


def main(folder: Path) -> None:
    """Train every case."""
    prepared = load_prepared(folder / "prepared")
    with open_processes("cpu") as processes:

        def keep(case: str, outcome: Outcome) -> None:
            name = f"{case}-{processes.rank}"
            save_file(outcome.weights, folder / f"{name}.safetensors")
            known = {"losses": outcome.losses, "draws": outcome.draws}
            (folder / f"{name}.json").write_text(json.dumps(known))

        def train(case: str, settings: tuple[str, ...]) -> None:
            out = folder / case
            processes.from_first(out.mkdir)
            keep(case, train_encoders(validation, prepared, out, settings, processes=processes))

        validation = Validation(prepared)
        train(SMALL, KEEPING)
        train(WHOLE, DROPPING)
        processes.from_first((folder / RESUMED).mkdir)
        keep(RESUMED, interrupted(prepared, folder / RESUMED, processes))
        loss.FULL_UP_TO = LARGE_FROM
        train(LARGE, (*KEEPING, NEGATIVES))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
