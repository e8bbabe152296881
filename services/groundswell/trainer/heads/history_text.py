"""Decides whether the texts of histories are read, by what they add on validation."""

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.ranking.validation import Validation


def history_text_of(
    store: BundleStore, prepared: Prepared, config: TrainConfig, console: Console
) -> str:
    """Return "read", "skip", or "auto" where validation can decide.

    Without validation, and without a setting, it is as in the current bundle, or else "skip".
    """
    if config.history_text != "auto" or Validation(prepared):
        return config.history_text
    current = store.current()
    try:
        if current is not None:
            return store.load(current).manifest.history_text.mode
    except BundleError as error:
        console.print(f"the current bundle does not tell whether it reads histories: {error}")
    return "skip"


def choose_history_text(
    setting: str,
    read_n: NDArray[np.float64],
    skipped_n: NDArray[np.float64],
    users_n: NDArray[np.integer],
) -> HistoryTextSpec:
    """Decide by what each of n held-out events of users adds to the NDCG@10, texts read or not.

    With the setting "auto" the texts have to be better by more than one standard error. They cost
    an encoder and a row for each chunk of each user, so what chance explains does not pay.
    """
    difference = float((read_n - skipped_n).mean())
    error = standard_error(read_n - skipped_n, users_n)
    return HistoryTextSpec(
        mode="read" if setting == "read" or difference > error else "skip",
        ndcg_with=float(read_n.mean()),
        ndcg_without=float(skipped_n.mean()),
        difference=difference,
        standard_error=error,
    )


def standard_error(values_n: NDArray[np.float64], users_n: NDArray[np.integer]) -> float:
    """Return the standard error of the mean of [n] values, whose users' values may depend.

    Liang and Zeger, Longitudinal data analysis, 1986: the sums of the residuals of each user.
    """
    _, cluster_n = np.unique(users_n, return_inverse=True)
    sums_U = np.bincount(cluster_n, values_n - values_n.mean())
    num_users = len(sums_U)
    scale = num_users / max(num_users - 1, 1)
    return float(np.sqrt(scale * np.square(sums_U).sum()) / len(values_n))
