"""Trains the items and the session Transformer, at every position of every history."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from groundswell.models.item_head import ItemHead
from groundswell.models.session_transformer import SessionTransformer
from groundswell.trainer.inputs import WindowInputs, window_rows, windows_before
from groundswell.trainer.loss import next_item_loss, sample_negatives, sampled_loss
from groundswell.trainer.run import Run, to_tensor
from groundswell.trainer.sampling import TrainingLog, Windows, batches_by_length
from groundswell.trainer.validation import Best, Validation

NAME = "session"
_TEXT_SCALE = 0.02
_EVALUATION_BATCH = 512


class _Pair(nn.Module):
    """What is trained together: the Transformer reads the item vectors."""

    def __init__(self, item_head: ItemHead, session: SessionTransformer) -> None:
        super().__init__()
        self.item_head = item_head
        self.session = session


class SessionStage:
    """The items and the session Transformer: `item_head` and `session` are what is served."""

    def __init__(self, log: TrainingLog, item_texts: NDArray[np.float32], run: Run) -> None:
        config = run.config
        self._log = log
        self._run = run
        self._texts_It = to_tensor(item_texts, run)
        num_items, text_dimension = item_texts.shape
        item_head = ItemHead(num_items, config.dimension, text_dimension)
        item_head.fit_texts(torch.from_numpy(item_texts))
        # Text starts as small as the ids do: it must not drown them.
        item_head.text_scale.mul_(_TEXT_SCALE)
        session = SessionTransformer(
            config.dimension,
            config.window_length,
            width=config.width,
            num_blocks=config.num_blocks,
            num_heads=config.num_heads,
            dropout=config.dropout,
        )
        self._trained = _Pair(item_head, session).to(run.device)
        # Validation and serving use the mean over the last steps: it ranks better than any one.
        self._mean = AveragedModel(self._trained, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        served = cast(_Pair, self._mean.module)
        self.item_head, self.session = served.item_head, served.session

    def train(self, validation: Validation, epochs: int) -> float:
        """Train for `epochs`, or until validation has its best; return that NDCG@10 (0 without)."""
        config, run = self._run.config, self._run
        optimizer = torch.optim.Adam(
            self._trained.parameters(), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / max(1, config.warmup_steps))
        )
        best = Best(config.patience, self._mean.state_dict)
        stops_early = bool(validation) and epochs == 0
        with run.stage(NAME, epochs or config.max_epochs) as stage:
            for epoch in range(1, (epochs or config.max_epochs) + 1):
                loss = self._epoch(optimizer, schedule)
                ndcg = self.validate(validation) if validation else None
                stage.report(epoch, loss, ndcg)
                if best.is_over(epoch, epoch if ndcg is None or epochs else ndcg) and stops_early:
                    break
        self._mean.load_state_dict(best.kept)
        run.epochs[NAME] = best.epoch
        return self.validate(validation) if validation else 0.0

    def validate(self, validation: Validation) -> float:
        """NDCG@10 of the short-term view alone."""
        return validation.score(self.views(validation.events), self.item_vectors()).ndcg

    @torch.inference_mode()
    def item_vectors(self) -> Tensor:
        """[I, d] vectors of all items."""
        self._mean.eval()
        vectors: Tensor = self.item_head(self._texts_It, self._all_rows())
        return vectors

    @torch.inference_mode()
    def text_only_vectors(self) -> Tensor:
        """[I, d] vectors of all items as if training had not known them."""
        self._mean.eval()
        vectors: Tensor = self.item_head(self._texts_It, torch.full_like(self._all_rows(), -1))
        return vectors

    @torch.inference_mode()
    def views(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] short-term vectors before each event."""
        items_Id = self.item_vectors()
        found = []
        for start in range(0, len(events), _EVALUATION_BATCH):
            part = events[start : start + _EVALUATION_BATCH]
            inputs = windows_before(self._log.prepared, part, self._run.config.window_length)
            rows, *others = (to_tensor(x, self._run) for x in inputs)
            found.append(self.session(items_Id[rows], *others))
        return torch.cat(found)

    def _epoch(
        self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR
    ) -> float:
        config = self._run.config
        self._trained.train()
        windows = self._log.windows(config.window_length, self._run.rng)
        total, count = 0.0, 0
        for batch in batches_by_length(windows.lengths, config.batch_windows, self._run.rng):
            slots = self._slots(Windows(*(x[batch] for x in windows)))
            if slots is None:
                continue
            inputs, is_target_BT, targets_n = slots
            loss = self._loss(inputs, is_target_BT, targets_n)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            self._mean.update_parameters(self._trained)
            total, count = total + loss.item() * len(targets_n), count + len(targets_n)
        return total / max(count, 1)

    def _slots(self, windows: Windows) -> tuple[WindowInputs, Tensor, Tensor] | None:
        """Return the inputs, [B, T] True where a slot is predicted, and the [n] items due there."""
        prepared = self._log.prepared
        inputs = window_rows(prepared, windows.first, windows.lengths)
        slot_T = np.arange(inputs.rows.shape[1] + 1)
        is_target_BT = (slot_T >= windows.target_from[:, None]) & (
            slot_T <= windows.lengths[:, None]
        )
        event_BT = np.where(is_target_BT, windows.first[:, None] + slot_T, 0)
        is_target_BT &= self._log.is_target[event_BT]
        if not is_target_BT.any():
            return None
        targets_n = prepared.items[event_BT[is_target_BT]].astype(np.int64)
        return inputs, to_tensor(is_target_BT, self._run), to_tensor(targets_n, self._run)

    def _loss(self, inputs: WindowInputs, is_target_BT: Tensor, targets_n: Tensor) -> Tensor:
        config, run = self._run.config, self._run
        rows, *others, _ = (to_tensor(x, run) for x in inputs)
        negatives = sample_negatives(len(self._texts_It), config.negatives)
        if negatives is None:
            used, place = self._all_rows(), None
        else:
            # Of a large catalogue only the items of this step get a vector.
            every = torch.cat([rows.flatten(), targets_n, negatives.to(run.device)])
            used, place = every.unique(return_inverse=True)
        keep = (torch.rand(len(used), device=run.device) >= config.id_dropout).float()
        items_Nd = self._trained.item_head(self._texts_It[used], used, keep)
        window_rows_BL = rows if place is None else place[: rows.numel()].view_as(rows)
        states = self._trained.session.states(items_Nd[window_rows_BL], *others)
        users_nd = self._trained.session.project(states[is_target_BT])
        if place is None or negatives is None:
            return next_item_loss(users_nd, targets_n, items_Nd)
        targets_nd = items_Nd[place[rows.numel() : rows.numel() + len(targets_n)]]
        negatives_Kd = items_Nd[place[rows.numel() + len(targets_n) :]]
        is_target_nK = targets_n[:, None] == negatives.to(run.device)[None, :]
        return sampled_loss(users_nd, targets_nd, negatives_Kd, is_target_nK)

    def _all_rows(self) -> Tensor:
        return torch.arange(len(self._texts_It), device=self._run.device)
