"""Trains what stands on the vectors of the encoders: neighbours, fusion and interests."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.models.interest_head import InterestHead
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.encoders.inference import UserEncoders
from groundswell.trainer.heads.fusing import EncodedUsers, smooth_best
from groundswell.trainer.heads.fusion import TrainedFusion, constant_gains, train_fusion
from groundswell.trainer.heads.history_text import choose_history_text
from groundswell.trainer.heads.interests import calibrate, train_interests
from groundswell.trainer.inputs.histories import gate_inputs
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.run import Run, to_tensor
from groundswell.trainer.neighbours.tuning import NeighbourTuning
from groundswell.trainer.ranking.validation import Ranking, Validation, most_targets


class Heads(NamedTuple):
    """What is trained on the vectors of the encoders."""

    neighbours: NeighbourTuning
    fusion: TrainedFusion
    history_text: HistoryTextSpec
    interests: InterestHead | None
    metrics: dict[str, float]
    queries_nd: NDArray[np.float32]
    """Fused vectors as they are served, before events that no encoder was trained on."""
    queried: EncodedUsers
    """The users of the queries."""
    queried_n: NDArray[np.integer]
    """The numbers of these users, one for each query."""


def train_heads(log: TrainingLog, encoders: UserEncoders, history_text: str, run: Run) -> Heads:
    """Train neighbours, fusion and interests, each on what the ones before it give.

    With "auto" as `history_text`, texts of histories are left out unless they are worth reading.
    """
    validation, items_Id = Validation(log.prepared), encoders.items.vectors().clone()
    spec = HistoryTextSpec(mode="skip" if history_text == "skip" else "read")
    if spec.mode == "read" and validation:
        spec = _measure_text(log, encoders, history_text, items_Id, validation, run)
    if spec.mode == "skip":
        encoders = encoders.without_text()
    fused = _Fused.train(log, encoders, items_Id, validation, run)
    interests = fused.interests(log, validation) if log.prepared.categories else None
    return Heads(
        fused.users.neighbours,
        fused.fusion,
        spec,
        interests,
        fused.metrics,
        fused.fusion.vectors(fused.queried).cpu().numpy(),
        fused.queried,
        log.prepared.users[validation.events if validation else fused.positions.events],
    )


def _measure_text(
    log: TrainingLog,
    encoders: UserEncoders,
    history_text: str,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> HistoryTextSpec:
    """Rank the validation events with texts and without, fused by the constant best with them."""
    users = _Users.of(log, encoders, run)
    read, _ = _weigh_neighbours(users, items_Id, validation)
    with run.work("text or not"):
        skipped = read._replace(long_vectors=encoders.without_text().long(validation.events))
        read_nA, skipped_nA = (constant_gains(validation, one, items_Id) for one in (read, skipped))
    place = smooth_best(read_nA.mean(0).tolist())
    users_n = log.prepared.users[validation.events]
    return choose_history_text(history_text, read_nA[:, place], skipped_nA[:, place], users_n)


@dataclass(frozen=True)
class _Users:
    """The users before given events, as the trained encoders and neighbours describe them."""

    prepared: Prepared
    encoders: UserEncoders
    neighbours: NeighbourTuning
    run: Run

    @classmethod
    def of(cls, log: TrainingLog, encoders: UserEncoders, run: Run) -> "_Users":
        """Take neighbours whose weights are not chosen yet."""
        neighbours = NeighbourTuning(
            log, run.config.window_length, lambda: encoders.items.text_only().cpu().numpy()
        )
        return cls(log.prepared, encoders, neighbours, run)

    def before(self, events: NDArray[np.int64]) -> EncodedUsers:
        features = gate_inputs(self.prepared, events, self.run.config.window_length)
        return EncodedUsers(
            self.encoders.short(events).clone(),
            self.encoders.long(events).clone(),
            to_tensor(features.logarithms(), self.run.device),
            self.neighbours.before(events),
        )


@dataclass(frozen=True)
class _Fused:
    """Neighbours and fusion, trained, and the users that they were trained on."""

    users: _Users
    positions: Ranking
    """Events that no encoder was trained on."""
    gate_users: EncodedUsers
    """Before these."""
    held_out: EncodedUsers
    """Before the events of validation."""
    fusion: TrainedFusion
    metrics: dict[str, float]

    @classmethod
    def train(
        cls,
        log: TrainingLog,
        encoders: UserEncoders,
        items_Id: Tensor,
        validation: Validation,
        run: Run,
    ) -> "_Fused":
        """Weigh the neighbours, then train the fusion."""
        prepared, config = log.prepared, run.config
        users = _Users.of(log, encoders, run)
        held_out, metrics = _weigh_neighbours(users, items_Id, validation)
        most = min(config.max_positions, most_targets(prepared.num_items) or config.max_positions)
        positions = Ranking(prepared, log.sample_positions(log.is_for_gate, most, run.rng))
        gate_users = users.before(positions.events)
        fusion = train_fusion(positions, gate_users, held_out, items_Id, validation, run)
        return cls(users, positions, gate_users, held_out, fusion, metrics | fusion.metrics)

    @property
    def queried(self) -> EncodedUsers:
        """The held-out users, those of training without any."""
        return self.held_out if len(self.held_out.long_vectors) else self.gate_users

    def interests(self, log: TrainingLog, validation: Validation) -> InterestHead:
        """Train the interest head on the encoders' own targets and on those kept from them.

        The encoders were trained on the former, so their vectors predict these targets better than
        they will predict new events.
        """
        users, fusion = self.users, self.fusion
        prepared, run = users.prepared, users.run
        known = log.sample_positions(log.is_target, run.config.max_positions, run.rng)
        category_I = to_tensor(prepared.item_category.astype(np.int64), run.device)
        targets_n = torch.from_numpy(prepared.items[known].astype(np.int64))
        head = train_interests(
            torch.cat([fusion.vectors(users.before(known)), fusion.vectors(self.gate_users)]),
            category_I[torch.cat([targets_n, self.positions.targets]).to(run.device)],
            users.encoders.items.text_only(),
            category_I,
            len(prepared.categories),
            run,
        )
        if validation:
            calibrate(head, fusion.vectors(self.held_out), category_I[validation.targets])
        return head


def _weigh_neighbours(
    users: _Users, items_Id: Tensor, validation: Validation
) -> tuple[EncodedUsers, dict[str, float]]:
    """Return the held-out users, neighbours weighed, and the metrics of both vectors alone."""
    held_out = users.before(validation.events)
    if not validation:
        return held_out, {}
    with users.run.work("neighbours"):
        metrics = users.neighbours.weigh(
            held_out.short_vectors, held_out.long_vectors, items_Id, validation
        )
    return held_out._replace(neighbour_scores=users.neighbours.before(validation.events)), metrics
