"""Writes a checkpoint after each epoch, from which an interrupted run resumes.

Resuming gives the same result as an uninterrupted run, bit for bit: besides the weights the file
holds the optimizers' moments, the states of all random generators and the best epoch so far. It is
replaced in one step. The first process writes it, and every process reads it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from groundswell.artifacts.small_files import fsync
from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.early_stopping import EarlyStopping
from groundswell.trainer.loop.optimizer import Optimizer
from groundswell.trainer.loop.run import Run

FILE = ".checkpoint.safetensors"
"""In the folder of bundles, until the run into it is finished."""
_FORMAT = 4
_STATE, _DIGEST = "state", "sha256"
_MODEL, _EMA, _BEST, _OPTIMIZER, _RANDOM = "model", "ema", "best", "optimizer", "random"


@dataclass
class Training:
    """The state of a stage, which its epochs change."""

    name: str
    model: nn.Module
    ema: AveragedModel
    optimizer: Optimizer
    stopping: EarlyStopping


class _Saved(NamedTuple):
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoint of a run in `folder`, which each epoch replaces."""

    def __init__(self, folder: Path, run: Run, *, resume: bool = False) -> None:
        """With `resume` go on from the checkpoint that is there; its curves and clock go on too.

        Raises TrainError when there is none, or when it is damaged.
        """
        self._file = folder / FILE
        self._run = run
        self._made_of: dict[str, Any] = {}
        self._saved: _Saved | None = None
        if resume:
            self._saved = _read(self._file)
            run.resume(self._saved.state)

    def belongs_to(self, made_of: Mapping[str, Any]) -> None:
        """Record what decides the run's result.

        Raises TrainError naming what was otherwise in the run that is resumed, or what differs
        between processes.
        """
        self._check_processes(made_of)
        self._made_of |= made_of
        if self._saved is None:
            return
        before = self._saved.state["made_of"]
        changed = [
            f"{name} was {before.get(name)}, is {value}"
            for name, value in made_of.items()
            if before.get(name) != value
        ]
        if changed:
            raise TrainError(f"the interrupted run cannot be resumed: {'; '.join(changed)}")

    def _check_processes(self, made_of: Mapping[str, Any]) -> None:
        """Raise TrainError where this process differs from the first one: they would wait for each
        other for ever."""
        saved = None if self._saved is None else self._saved.state
        epoch = None if saved is None else f"{saved['epoch']} of {saved['stage']}"
        own = {**made_of, "the checkpoint's epoch": epoch}
        first = self._run.processes.from_first(lambda: own)
        changed = [
            f"{name} is {value}, and {first[name]} in the first one"
            for name, value in own.items()
            if first[name] != value
        ]
        if changed:
            number = self._run.processes.rank
            raise TrainError(f"process {number} cannot train along: {'; '.join(changed)}")

    def restore(self, training: Training) -> None:
        """Put a stage where the checkpoint left it, if it was in this stage."""
        if self._saved is None or self._saved.state["stage"] != training.name:
            return
        tensors, state = self._saved
        # Later stages start afresh.
        self._saved = None
        training.model.load_state_dict(_part(tensors, _MODEL))
        training.ema.load_state_dict(_part(tensors, _EMA))
        training.optimizer.load_state_dict(_part(tensors, _OPTIMIZER))
        stopping = training.stopping
        stopping.best = _part(tensors, _BEST)
        stopping.best_score, stopping.best_epoch = state["best_score"], state["best_epoch"]
        stopping.epoch = state["epoch"]
        self._run.rng.bit_generator.state = state["rng"]
        _set_random_states(_part(tensors, _RANDOM), self._run)

    def save(self, training: Training) -> None:
        """Replace the checkpoint by one of the epoch that is done, in one step.

        Raises TrainError when it cannot be written.
        """
        run, stopping = self._run, training.stopping
        random_states = _random_states(run)
        if not run.processes.is_first:
            return
        parts: dict[str, Mapping[str, Tensor]] = {
            _MODEL: training.model.state_dict(),
            _EMA: training.ema.state_dict(),
            _BEST: stopping.best,
            _OPTIMIZER: training.optimizer.state_dict(),
            _RANDOM: random_states,
        }
        tensors = {
            f"{part}.{name}": value.cpu()
            for part, values in parts.items()
            for name, value in values.items()
        }
        state = json.dumps(
            {
                "made_of": self._made_of,
                "stage": training.name,
                "epoch": stopping.epoch,
                "best_score": stopping.best_score,
                "best_epoch": stopping.best_epoch,
                "rng": run.rng.bit_generator.state,
            }
            | run.state()
        )
        building = self._file.with_suffix(".building")
        try:
            save_file(tensors, building, {_STATE: state, _DIGEST: _digest(tensors, state)})
            fsync(building)
        except (SafetensorError, OSError) as error:
            # Part of a file would only take disk space.
            if building.is_file():
                building.unlink()
            raise TrainError(f"{building} cannot be written: {error}") from error
        building.replace(self._file)
        fsync(self._file.parent)

    def remove(self) -> None:
        """Remove the checkpoint of a finished run."""
        self._file.unlink(missing_ok=True)


def made_of(run: Run) -> dict[str, Any]:
    """Return what a run's result depends on besides its data, by names for people."""
    return {
        **asdict(run.config),
        "seed": run.seed,
        "device": run.device.type,
        "the number of processes": run.processes.size,
        "the checkpoint's format": _FORMAT,
        "torch": torch.__version__,
    }


def _read(file: Path) -> _Saved:
    if not file.exists():
        raise TrainError(f"nothing to resume: {file.parent} holds no interrupted run's checkpoint")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        state, digest = metadata[_STATE], metadata[_DIGEST]
    except (SafetensorError, KeyError, TypeError) as error:
        raise TrainError(f"{file} is damaged, train without --resume: {error!r}") from error
    if _digest(tensors, state) != digest:
        raise TrainError(f"{file} is damaged, train without --resume: its hash is another one")
    return _Saved(tensors, json.loads(state))


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """Hash all of a checkpoint: safetensors does not detect changed values."""
    hasher = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].numpy().ravel().data)
    return hasher.hexdigest()


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}."
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def _random_states(run: Run) -> dict[str, Tensor]:
    """Return the state of every generator of every process, each by a name and a number."""
    own = {"cpu": torch.get_rng_state()}
    if run.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(run.device)
    if run.negatives is not None:
        own["negatives"] = run.negatives.get_state()
    return {
        f"{name}.{rank}": state
        for name, value in own.items()
        for rank, state in enumerate(run.processes.gather(value))
    }


def _set_random_states(states: Mapping[str, Tensor], run: Run) -> None:
    rank = run.processes.rank
    torch.set_rng_state(states[f"cpu.{rank}"])
    if run.device.type == "cuda":
        torch.cuda.set_rng_state(states[f"cuda.{rank}"])
    if run.negatives is not None:
        run.negatives.set_state(states[f"negatives.{rank}"])
