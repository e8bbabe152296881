"""Trains one RecTools model on a given log and ranks its held-out events: JSON in, JSON out.

`python rectools_side.py JOB RESULT`, in the environment that requirements.txt describes: nothing of
this project can be imported here. What JOB holds, `split.job` says; what RESULT holds, `main`.
"""

import copy
import json
import logging
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

_BATCH = 256
_K = 10

_MODELS: dict[str, Callable[..., Any]] = {
    "sasrec": SASRecModel,
    "bert4rec": BERT4RecModel,
    # As its authors' benchmark sets it (github.com/blondered/transformer_benchmark).
    "esasrec": lambda **settings: SASRecModel(
        **settings, transformer_layers_type=LiGRLayers, use_key_padding_mask=True
    ),
}


def main() -> None:
    """Train, rank, and write the curve by epochs, the best epoch, and both sets' ranks from 1."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    seed_everything(job["seed"], verbose=False)
    items, weights = np.array(job["items"]), np.array(job["weights"])
    dataset = Dataset.construct(_interactions(items, weights, np.array(job["training"])))
    model = _MODELS[job["model"]](**job["settings"], recommend_torch_device="cpu")
    fit = _Fit(model, items, np.array(job["validation"]), job)
    # RecTools' documented way to give a trainer of one's own.
    model._trainer = fit.trainer()
    fit.started = time.perf_counter()
    model.fit(dataset)
    seconds = fit.clock()
    model.torch_model.load_state_dict(fit.best_state)
    test = _Targets(model, items, np.array(job["test"]))
    result = {
        "versions": {name: version(name) for name in ("rectools", "torch", "numpy")},
        "curve": fit.curve,
        "best_epoch": fit.best_epoch,
        "seconds": seconds,
        "known_items": len(model.data_preparator.get_known_item_ids()),
        "validation_ranks": fit.best_ranks.tolist(),
        "test_ranks": test.ranks().tolist(),
    }
    Path(sys.argv[2]).write_text(json.dumps(result))


class _Fit:
    """Validates after every epoch, keeps the best one, and ends what no longer gets better."""

    def __init__(
        self, model: Any, items: NDArray[np.int64], spans: NDArray[np.int64], job: dict[str, Any]
    ) -> None:
        self._model = model
        self._items, self._spans = items, spans
        self._job = job
        self._targets: _Targets | None = None
        self._not_counted = 0.0
        self.started = 0.0
        self.curve: dict[str, list[float]] = {"loss": [], "ndcg": [], "seconds": []}
        self.best_epoch = 0
        self.best_ranks: NDArray[np.int64] = np.zeros(0, np.int64)
        self.best_state: dict[str, torch.Tensor] = {}

    def trainer(self) -> Trainer:
        """Make the trainer; it is copied before it is used, which a plain function survives."""

        def end_epoch(trainer: Any, _module: Any) -> None:
            self._end_epoch(trainer)

        return Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=self._job["max_epochs"],
            callbacks=[LambdaCallback(on_train_epoch_end=end_epoch)],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=False,
        )

    def clock(self) -> float:
        """Seconds since training began; making the validation inputs, once, is not counted."""
        return time.perf_counter() - self.started - self._not_counted

    def _end_epoch(self, trainer: Any) -> None:
        if self._targets is None:
            began = time.perf_counter()
            self._targets = _Targets(self._model, self._items, self._spans)
            self._not_counted = time.perf_counter() - began
        ranks = self._targets.ranks()
        ndcg = float(np.where(ranks <= _K, 1 / np.log2(1.0 + ranks), 0.0).mean())
        epoch = len(self.curve["ndcg"]) + 1
        if epoch == 1 or ndcg > self.curve["ndcg"][self.best_epoch - 1]:
            self.best_epoch, self.best_ranks = epoch, ranks
            self.best_state = copy.deepcopy(self._model.torch_model.state_dict())
        self.curve["loss"].append(float(trainer.callback_metrics["train_loss"]))
        self.curve["ndcg"].append(ndcg)
        self.curve["seconds"].append(self.clock())
        print(f"{self._job['model']}: epoch {epoch}, validation NDCG@10 {ndcg:.4f}", flush=True)
        is_late = self.clock() > self._job["max_seconds"]
        if is_late or epoch - self.best_epoch >= self._job["patience"]:
            trainer.should_stop = True


class _Targets:
    """Held-out events, ranked by a model the way its `recommend` does, but with every rank known.

    `spans` is [n, 2]: an event at position `spans[i, 1]` of the log is the target, the events from
    `spans[i, 0]` to it are its user's past, which is read and kept out of the ranking.
    """

    def __init__(self, model: Any, items: NDArray[np.int64], spans: NDArray[np.int64]) -> None:
        self._model = model
        preparator = model.data_preparator
        numbers = preparator.item_id_map.to_internal
        self._own = numbers.reindex(items[spans[:, 1]], fill_value=-1).to_numpy()
        past = [numbers.reindex(items[begin:end], fill_value=-1).to_numpy() for begin, end in spans]
        self._past = [numbers[numbers >= 0] for numbers in past]
        pasts = Dataset.construct(_interactions(items, np.ones(len(items)), spans))
        known = preparator.transform_dataset_u2i(pasts, np.arange(len(spans)))
        # Which target each row of the batches below belongs to.
        self._order = np.asarray(known.user_id_map.external_ids, dtype=np.int64)
        self._batches = list(preparator.get_dataloader_recommend(known, _BATCH))
        self._num_extra = preparator.n_item_extra_tokens
        self._last = len(preparator.get_known_item_ids())

    @torch.no_grad()
    def ranks(self) -> NDArray[np.int64]:
        """Return [n] ranks from 1; ties count against a target, an unknown one comes last."""
        network = self._model.torch_model
        was_training = network.training
        network.eval()
        similarity = network.similarity_module
        items_Id = network.item_model.get_all_embeddings()
        candidates_Id = similarity.item_tower_forward(items_Id)
        ranks = np.full(len(self._own), self._last)
        start = 0
        for batch in self._batches:
            states_Bd = network.encode_sessions(batch, items_Id)[:, -1]
            scores_BI = similarity.session_tower_forward(states_Bd) @ candidates_Id.T
            targets = self._order[start : start + len(scores_BI)]
            ranks[targets] = self._rank(scores_BI, targets)
            start += len(scores_BI)
        network.train(was_training)
        return ranks

    def _rank(self, scores_BI: torch.Tensor, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        own_B = torch.from_numpy(self._own[targets])
        own_scores_B1 = scores_BI.gather(1, own_B.clamp(min=0)[:, None])
        past = [self._past[target] for target in targets]
        rows = np.repeat(np.arange(len(past)), [len(numbers) for numbers in past])
        scores_BI[torch.from_numpy(rows), torch.from_numpy(np.concatenate(past))] = -torch.inf
        scores_BI[:, : self._num_extra] = -torch.inf
        ranks: NDArray[np.int64] = (scores_BI >= own_scores_B1).sum(1).numpy()
        return np.where(own_B.numpy() >= 0, ranks, self._last)


def _interactions(
    items: NDArray[np.int64], weights: NDArray[np.float64], spans: NDArray[np.int64]
) -> pd.DataFrame:
    """Make one user of each span [begin, end) of the log; its order is the order of time."""
    lengths = spans[:, 1] - spans[:, 0]
    events = np.concatenate([np.arange(begin, end) for begin, end in spans])
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(spans)), lengths),
            Columns.Item: items[events],
            Columns.Weight: weights[events],
            Columns.Datetime: events,
        }
    )


if __name__ == "__main__":
    main()
