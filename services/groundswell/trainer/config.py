"""The settings of a training run, with defaults that need no tuning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from groundswell.features.window import MAX_RECENT
from groundswell.trainer.errors import DataError

_AT_LEAST = {
    "text_encoder_layers": 0,
    "text_encoder_width": 0,
    "text_encoder_vocabulary": 0,
    "text_encoder_steps": 0,
    "text_encoder_finetune_steps": 0,
    "text_encoder_rank": 1,
    "max_tokens": 8,
    "dimension": 4,
    "window_length": 1,
    "chunk_length": 1,
    "max_chunks": 1,
    "width": 1,
    "num_blocks": 1,
    "num_heads": 1,
    "warmup_steps": 0,
    "batch_windows": 0,
    "epochs": 0,
    "max_epochs": 1,
    "patience": 1,
    "negatives": 1,
    "long_horizon": 1,
    "recent_length": 1,
    "profile_blocks": 0,
    "gate_width": 1,
    "max_positions": 1,
}

_AT_MOST = {
    "text_encoder_layers": 48,
    "text_encoder_width": 4_096,
    "text_encoder_vocabulary": 1_000_000,
    "text_encoder_rank": 1_024,
    "max_tokens": 65_536,
    "dimension": 4_096,
    "window_length": 10_000,
    "chunk_length": 10_000,
    "max_chunks": 10_000,
    "width": 4_096,
    "num_blocks": 64,
    "num_heads": 256,
    "negatives": 1_000_000,
    "profile_blocks": 64,
    "recent_length": MAX_RECENT,
    "gate_width": 4_096,
    "max_positions": 10_000_000,
}
"""Above these a value is more likely a typing error than a machine with so much memory."""

GATES = ("best", "scalar", "per-dimension", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
_SHARES = (
    "dropout",
    "id_dropout",
    "event_dropout",
    "history_dropout",
    "long_stale",
    "chunk_dropout",
    "ema",
)

HEAD_WIDTH = 32
"""The width of an attention head of a pre-trained text encoder; it has one for each such part."""
_GROUP = "text_encoder"
_FROM_SCRATCH = "text_encoder.pretrain=mlm and text_encoder=default: a named encoder has its own"


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; `--set key=value` changes one."""

    text_encoder: str = "default"
    """"default" (the packaged MiniLM), a folder in Hugging Face's layout, or a hub id."""
    text_encoder_pretrain: str = "none"
    """"mlm": pre-train on the texts of the catalogue and of training histories. Instead of the
    default encoder a small BERT is trained from scratch; a named encoder is trained further."""
    text_encoder_layers: int = 0
    """Of the pre-trained BERT; 0 for this, its width, vocabulary or steps: by amount of text."""
    text_encoder_width: int = 0
    text_encoder_vocabulary: int = 0
    """Most tokens; every character of the texts is a token in any case."""
    text_encoder_steps: int = 0
    text_encoder_finetune: str = "none"
    """"lora" (adapters, merged afterwards) or "full": draw next items' texts near those before."""
    text_encoder_finetune_steps: int = 0
    """0: by the size of the log."""
    text_encoder_rank: int = 8
    """Rank of the adapters."""
    max_tokens: int = 256
    """Longer texts are cut."""
    dimension: int = 64
    """d of the one space, the popularity bias included."""
    window_length: int = 50
    """Events that the session Transformer reads."""
    chunk_length: int = 16
    """Events in one chunk of a history."""
    max_chunks: int = 64
    """The newest full chunks that the profile encoder reads."""
    width: int = 64
    """Of the Transformer and of the profile encoder."""
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.3
    id_dropout: float = 0.1
    """How often an item's ID part is dropped, so that its text alone can place it, too."""
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    batch_windows: int = 0
    """Windows of a step; 0: as many as hold about a thousand targets."""
    precision: str = "auto"
    """Of the products in training: "float32", "bfloat16", or "auto", the faster one here."""
    ema: float = 0.99
    """Decay of the EMA of the weights in each step; the EMA is what is served."""
    epochs: int = 0
    """Of items and both encoders together; 0: until early stopping, or without validation as
    many as the current bundle was trained for."""
    max_epochs: int = 60
    patience: int = 6
    """Epochs without a better validation NDCG@10 before a stage ends."""
    negatives: int = 2048
    """Shared uniform negatives a step, for catalogues of over 20,000 items."""
    recent_length: int = 200
    """Newest events that the profile encoder reads as items; fewer where no history has as many."""
    profile_blocks: int = 1
    """Of the Transformer in the profile encoder."""
    event_dropout: float = 0.0
    """How often an event of a window loses its item."""
    history_dropout: float = 0.5
    """How often an event is left out of the sum over a history."""
    long_stale: float = 0.5
    """How often the long-term vector is computed without the events of the target's session."""
    long_horizon: int = 20
    """Most events before the target that it then lacks."""
    chunk_dropout: float = 0.1
    gate: str = "best"
    """"scalar" (one α a request), "per-dimension", "constant" (nothing learned), or "best": the
    one of them that validation prefers."""
    gate_width: int = 16
    max_positions: int = 10_000
    """Training positions that the gate and the interest head read at most."""

    def __post_init__(self) -> None:
        for name, low in _AT_LEAST.items():
            if getattr(self, name) < low:
                found = getattr(self, name)
                raise DataError(f"{_spoken(name)} must be at least {low}, not {found}")
        for name in _SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")
        for name, high in _AT_MOST.items():
            if getattr(self, name) > high:
                found = getattr(self, name)
                raise DataError(f"{_spoken(name)} must be at most {high}, not {found}")
        if not 0 < self.learning_rate < math.inf:
            raise DataError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.width % self.num_heads:
            raise DataError(f"width {self.width} is no multiple of num_heads {self.num_heads}")
        if self.precision not in PRECISIONS:
            names = ", ".join(PRECISIONS)
            raise DataError(f"precision must be one of {names}, not {self.precision!r}")
        if self.gate not in GATES:
            raise DataError(f"gate must be one of {', '.join(GATES)}, not {self.gate!r}")
        self._check_text_encoder()

    def _check_text_encoder(self) -> None:
        if self.text_encoder in ("", "none"):
            raise DataError(
                f"text_encoder must be default, a folder or a hub id, not {self.text_encoder!r}: "
                "without one no item has a text vector"
            )
        choices = {"pretrain": ("none", "mlm"), "finetune": ("none", "lora", "full")}
        for part, allowed in choices.items():
            chosen = getattr(self, f"text_encoder_{part}")
            if chosen not in allowed:
                names = ", ".join(allowed)
                raise DataError(f"text_encoder.{part} must be one of {names}, not {chosen!r}")
        from_scratch = self.text_encoder == "default" and self.text_encoder_pretrain == "mlm"
        needs = {
            "layers": (from_scratch, _FROM_SCRATCH),
            "width": (from_scratch, _FROM_SCRATCH),
            "vocabulary": (from_scratch, _FROM_SCRATCH),
            "steps": (self.text_encoder_pretrain == "mlm", "text_encoder.pretrain=mlm"),
            "finetune_steps": (self.text_encoder_finetune != "none", "text_encoder.finetune"),
            "rank": (self.text_encoder_finetune == "lora", "text_encoder.finetune=lora"),
        }
        for part, (used, condition) in needs.items():
            name = f"text_encoder_{part}"
            if not used and getattr(self, name) != getattr(TrainConfig, name):
                raise DataError(f"{_spoken(name)} means nothing without {condition}")
        if self.text_encoder_width % HEAD_WIDTH:
            raise DataError(
                f"text_encoder.width must be a multiple of {HEAD_WIDTH}, "
                f"not {self.text_encoder_width}"
            )


def parse_config(settings: Sequence[str]) -> TrainConfig:
    """Read `key=value` settings. Raises DataError naming an unknown key or a wrong value."""
    defaults = TrainConfig()
    kinds: dict[str, type[Any]] = {
        _spoken(f.name): type(getattr(defaults, f.name)) for f in fields(defaults)
    }
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise DataError(f"--set {setting}: it must be KEY=VALUE")
        if key not in kinds:
            raise DataError(f"--set {key}: no such setting; there are {', '.join(sorted(kinds))}")
        try:
            changes[key.replace(".", "_")] = kinds[key](value)
        except ValueError as error:
            kind = {int: "a whole number", float: "a number"}[kinds[key]]
            raise DataError(f"--set {key}: {value!r} is not {kind}") from error
    return replace(defaults, **changes)


def _spoken(name: str) -> str:
    """Name a field as users do: those of a group after its name and a dot."""
    return name.replace(f"{_GROUP}_", f"{_GROUP}.", 1)
