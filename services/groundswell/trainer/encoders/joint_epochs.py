"""Says for how many epochs the items and both user encoders train together."""

from rich.console import Console

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.encoders.training import JOINT_NAME
from groundswell.trainer.ranking.validation import Validation

_DEFAULT_EPOCHS = 20


def joint_epochs(
    store: BundleStore, prepared: Prepared, config: TrainConfig, console: Console
) -> int:
    """Return the epochs of the joint phase; 0: until early stopping, where there is validation.

    Without validation, and without a setting, they are those of the current bundle, or else a
    constant.
    """
    if Validation(prepared) or config.epochs:
        return config.epochs
    current = store.current()
    try:
        if current is not None:
            return int(store.load(current).manifest.training["epochs"][JOINT_NAME])
    except (BundleError, KeyError) as error:
        console.print(f"the current bundle does not tell its epochs: {error}")
    console.print(
        "no validation set, and no earlier bundle: the encoders train for "
        f"{_DEFAULT_EPOCHS} epochs (--set epochs=N changes it)"
    )
    return _DEFAULT_EPOCHS
