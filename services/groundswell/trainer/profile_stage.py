"""Trains the profile encoder on frozen items, at many positions of every history in one pass.

B users, P positions of each, N chunks, t text dimensions, d dimensions.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.features.chunks import chunk_ages
from groundswell.models.profile_encoder import ProfileEncoder
from groundswell.trainer.inputs import Chunks, Histories
from groundswell.trainer.loss import next_item_loss, sample_negatives, sampled_loss
from groundswell.trainer.run import Run, to_tensor
from groundswell.trainer.sampling import TrainingLog
from groundswell.trainer.validation import Best, Validation

NAME = "profile"
_USERS = 32
_STALE_EVENTS = 16
_EVALUATION_BATCH = 256
_EPOCHS_WITHOUT_VALIDATION = 12
_LEARNING_RATE = 5e-4


class _Batch(NamedTuple):
    chunks_BNt: NDArray[np.float32]
    ages_BPN: NDArray[np.float32]
    num_BP: NDArray[np.int64]
    tails_BPt: NDArray[np.float32]
    tail_lengths_BP: NDArray[np.int64]
    real_BP: NDArray[np.bool_]
    targets_n: NDArray[np.int64]


class ProfileStage:
    """The profile encoder; what it predicts is any of the coming events of a future window."""

    def __init__(
        self,
        log: TrainingLog,
        chunks: Chunks,
        chunk_vectors: NDArray[np.float32],
        item_texts: NDArray[np.float32],
        run: Run,
    ) -> None:
        config = run.config
        self._log = log
        self._run = run
        self._chunks = chunks
        self._chunk_vectors = chunk_vectors
        self._histories = Histories(
            log.prepared, chunks, chunk_vectors, item_texts, config.max_chunks
        )
        self.encoder = ProfileEncoder(
            config.dimension,
            item_texts.shape[1],
            config.max_chunks,
            width=config.width,
            num_heads=config.num_heads,
            dropout=config.dropout,
        )
        trained = _chunks_in_training(log, chunks)
        self.encoder.fit(torch.from_numpy(chunk_vectors[trained]), torch.from_numpy(item_texts))
        self.encoder.to(run.device)

    def train(self, items_Id: Tensor, validation: Validation, epochs: int) -> float:
        """Train for `epochs`, or until validation has its best; return that NDCG@10 (0 without)."""
        config, run = self._run.config, self._run
        optimizer = torch.optim.Adam(self.encoder.parameters(), lr=_LEARNING_RATE)
        best = Best(config.patience, self.encoder.state_dict)
        stops_early = bool(validation) and epochs == 0
        if not validation and epochs == 0:
            epochs = _EPOCHS_WITHOUT_VALIDATION

        def score() -> float:
            return validation.score(self.views(validation.events), items_Id).ndcg

        with run.stage(NAME, epochs or config.max_epochs) as stage:
            for epoch in range(1, (epochs or config.max_epochs) + 1):
                loss = self._epoch(optimizer, items_Id)
                ndcg = score() if validation else None
                stage.report(epoch, loss, ndcg)
                if best.is_over(epoch, epoch if ndcg is None or epochs else ndcg) and stops_early:
                    break
        self.encoder.load_state_dict(best.kept)
        self.encoder.eval()
        run.epochs[NAME] = best.epoch
        return score() if validation else 0.0

    @torch.inference_mode()
    def views(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] long-term vectors before each event."""
        self.encoder.eval()
        found = []
        for start in range(0, len(events), _EVALUATION_BATCH):
            inputs = self._histories.before(events[start : start + _EVALUATION_BATCH])
            found.append(self.encoder(*(to_tensor(x, self._run) for x in inputs)))
        return torch.cat(found)

    def _epoch(self, optimizer: torch.optim.Optimizer, items_Id: Tensor) -> float:
        self.encoder.train()
        total, count = 0.0, 0
        for batch in self._batches():
            loss = self._loss(batch, items_Id)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch.targets_n)
            count += len(batch.targets_n)
        return total / max(count, 1)

    def _loss(self, batch: _Batch, items_Id: Tensor) -> Tensor:
        run = self._run
        chunks_BNt, ages_BPN, num_BP, tails_BPt, lengths_BP, real_BP, targets_n = (
            to_tensor(x, run) for x in batch
        )
        drop_BPN = torch.rand(ages_BPN.shape, device=run.device) < run.config.chunk_dropout
        users_BPd = self.encoder.dense(
            chunks_BNt, ages_BPN, num_BP, tails_BPt, lengths_BP, drop_BPN
        )
        users_nd = users_BPd[real_BP]
        negatives = sample_negatives(len(items_Id), run.config.negatives)
        if negatives is None:
            return next_item_loss(users_nd, targets_n, items_Id)
        negatives = negatives.to(run.device)
        is_target_nK = targets_n[:, None] == negatives[None, :]
        return sampled_loss(users_nd, items_Id[targets_n], items_Id[negatives], is_target_nK)

    def _batches(self) -> Iterator[_Batch]:
        offsets, rng = self._log.prepared.offsets, self._run.rng
        # A history needs an event to look at and one to predict.
        users = np.flatnonzero(self._log.ends - offsets[:-1] > 1)
        for batch in _by_length(users, self._log.ends - offsets[:-1], rng):
            built = self._batch(batch)
            if len(built.targets_n):
                yield built

    def _batch(self, users: NDArray[np.int64]) -> _Batch:
        """Sample positions of users: what is known before each, and an item that comes after."""
        log, rng, size = self._log, self._run.rng, self._chunks.chunk_length
        begins, ends = log.prepared.offsets[users], log.ends[users]
        position_BP, real_BP = self._positions(begins, ends)
        ahead_BP = rng.integers(0, self._run.config.long_horizon, position_BP.shape)
        target_BP = np.minimum(position_BP + ahead_BP, ends[:, None] - 1)
        real_BP &= log.is_target[target_BP]
        stale_BP = rng.integers(1, _STALE_EVENTS + 1, position_BP.shape)
        stale_BP *= rng.random(position_BP.shape) < self._run.config.long_stale
        known_BP = np.maximum(position_BP - stale_BP, begins[:, None] + 1)
        num_BP = (known_BP - begins[:, None]) // size
        tails, tail_lengths = self._histories.tails(known_BP.ravel())
        chunks_BNt, times_BN = self._chunks_of(users, int(num_BP.max(initial=0)))
        last_us_BP1 = log.prepared.times_us[known_BP - 1][..., None]
        use_time = not log.prepared.order_only
        times_BPN = np.broadcast_to(times_BN[:, None], (*position_BP.shape, times_BN.shape[1]))
        return _Batch(
            chunks_BNt,
            chunk_ages(times_BPN, last_us_BP1, use_time=use_time),
            num_BP,
            tails.reshape(*position_BP.shape, -1),
            tail_lengths.reshape(position_BP.shape),
            real_BP,
            log.prepared.items[target_BP[real_BP]].astype(np.int64),
        )

    def _positions(
        self, begins: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return [B, P] events to stand before, each with a past, and which of them are real."""
        most = min(self._run.config.long_positions, int((ends - begins - 1).max()))
        positions = np.repeat(begins[:, None] + 1, most, axis=1)
        real = np.zeros(positions.shape, bool)
        for row, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            count = min(most, end - begin - 1)
            chosen = self._run.rng.choice(end - begin - 1, count, replace=False)
            positions[row, :count] = begin + 1 + chosen
            real[row, :count] = True
        return positions, real

    def _chunks_of(
        self, users: NDArray[np.int64], longest: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        longest = max(longest, 1)
        t = self._chunk_vectors.shape[1]
        vectors = np.zeros((len(users), longest, t), np.float32)
        times = np.zeros((len(users), longest), np.int64)
        for row, user in enumerate(users.tolist()):
            first, last = self._chunks.offsets[user : user + 2]
            count = min(int(last - first), longest)
            vectors[row, :count] = self._chunk_vectors[first : first + count]
            times[row, :count] = self._chunks.last_times_us[first : first + count]
        return vectors, times


def _chunks_in_training(log: TrainingLog, chunks: Chunks) -> NDArray[np.bool_]:
    """Return [M] True for chunks without a held-out event."""
    counts = np.diff(chunks.offsets)
    number = np.arange(chunks.offsets[-1]) - np.repeat(chunks.offsets[:-1], counts)
    num_events = log.ends - log.prepared.offsets[:-1]
    return (number + 1) * chunks.chunk_length <= np.repeat(num_events, counts)


def _by_length(
    users: NDArray[np.int64], lengths: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield batches of users with histories of about one length, in random order."""
    shuffled = rng.permutation(users)
    order = shuffled[np.argsort(lengths[shuffled] // 64, kind="stable")]
    starts = rng.permutation(np.arange(0, len(order), _USERS))
    yield from (order[start : start + _USERS] for start in starts)
