"""The settings of a training run, with defaults that need no tuning."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from groundswell.features.window import MAX_RECENT
from groundswell.trainer.errors import DataError

HEAD_WIDTH = 32
"""The width of an attention head of a pre-trained text encoder; it has one for each such part."""
_GROUP = "text_encoder"
_FROM_SCRATCH = "text_encoder.pretrain=mlm and text_encoder=default: a named encoder has its own"


def _checked(default: Any, checks: dict[str, Callable[[Any], bool]]) -> Any:
    """A setting and what its value must be, in words and as a test."""
    return field(default=default, metadata=checks)


def _within(default: int, low: int, high: float = math.inf) -> Any:
    """A whole number. Above `high` it is more likely a typing error than a machine so large."""
    return _checked(
        default, {f"at least {low}": lambda n: n >= low, f"at most {high}": lambda n: n <= high}
    )


def _share(default: float) -> Any:
    return _checked(default, {"from 0 to below 1": lambda share: 0 <= share < 1})


def _one_of(*choices: str) -> Any:
    """One of some words, the first of them by default."""
    return _checked(choices[0], {f"one of {', '.join(choices)}": lambda word: word in choices})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; `--set key=value` changes one."""

    text_encoder: str = "default"
    """"default" (the packaged MiniLM), a folder in Hugging Face's layout, or a hub id."""
    text_encoder_pretrain: str = _one_of("none", "mlm")
    """"mlm": pre-train on the texts of the catalogue and of training histories. Instead of the
    default encoder a small BERT is trained from scratch; a named encoder is trained further."""
    text_encoder_layers: int = _within(0, 0, 48)
    """Of the pre-trained BERT. 0, as for its width, vocabulary and steps: by the amount of text."""
    text_encoder_width: int = _within(0, 0, 4_096)
    text_encoder_vocabulary: int = _within(0, 0, 1_000_000)
    """Most tokens; every character of the texts is a token in any case."""
    text_encoder_steps: int = _within(0, 0)
    text_encoder_finetune: str = _one_of("none", "lora", "full")
    """"lora" (adapters, merged afterwards) or "full": draw next items' texts near those before."""
    text_encoder_finetune_steps: int = _within(0, 0)
    """0: by the size of the log."""
    text_encoder_rank: int = _within(8, 1, 1_024)
    """Rank of the adapters."""
    max_tokens: int = _within(256, 8, 65_536)
    """Longer texts are cut."""
    dimension: int = _within(64, 4, 4_096)
    """d of the one space, the popularity bias included."""
    window_length: int = _within(50, 1, 10_000)
    """Events that the session Transformer reads."""
    chunk_length: int = _within(16, 1, 10_000)
    """Events in one chunk of a history."""
    max_chunks: int = _within(64, 1, 10_000)
    """The newest full chunks that the profile encoder reads."""
    width: int = _within(64, 1, 4_096)
    """Of the Transformer and of the profile encoder."""
    num_blocks: int = _within(2, 1, 64)
    num_heads: int = _within(2, 1, 256)
    dropout: float = _share(0.3)
    id_dropout: float = _share(0.1)
    """How often an item's ID part is dropped, so that its text alone can place it, too."""
    learning_rate: float = _checked(2e-3, {"above 0": lambda rate: 0 < rate < math.inf})
    warmup_steps: int = _within(100, 0)
    batch_windows: int = _within(0, 0)
    """Windows of a step; 0: as many as hold about a thousand targets."""
    precision: str = _one_of("auto", "float32", "bfloat16")
    """Of the products in training: "float32", "bfloat16", or "auto", the faster one here."""
    ema: float = _share(0.99)
    """Decay of the EMA of the weights in each step; the EMA is what is served."""
    epochs: int = _within(0, 0)
    """Of items and both encoders together; 0: until early stopping, or without validation as
    many as the current bundle was trained for."""
    max_epochs: int = _within(60, 1)
    patience: int = _within(6, 1)
    """Epochs without a better validation NDCG@10 before a stage ends."""
    negatives: int = _within(2_048, 1, 1_000_000)
    """Shared uniform negatives a step, for catalogues of over 20,000 items."""
    recent_length: int = _within(200, 1, MAX_RECENT)
    """Newest events that the profile encoder reads as items; fewer where no history has as many."""
    profile_blocks: int = _within(1, 0, 64)
    """Of the Transformer in the profile encoder."""
    event_dropout: float = _share(0.0)
    """How often an event of a window loses its item."""
    history_dropout: float = _share(0.5)
    """How often an event is left out of the sum over a history."""
    long_stale: float = _share(0.5)
    """How often the long-term vector is computed without the events of the target's session."""
    long_horizon: int = _within(20, 1)
    """Most events before the target that it then lacks."""
    history_text: str = _one_of("auto", "read", "skip")
    """Texts of histories: "read" or "skip" them; "auto": read them where that is clearly better on
    validation, or without validation where the current bundle does."""
    chunk_dropout: float = _share(0.1)
    """How often a chunk is left out, as when it is not encoded yet."""
    text_dropout: float = _share(0.5)
    """How often all chunks are left out, as before any is encoded."""
    gate: str = _one_of("best", "scalar", "per-dimension", "constant")
    """"scalar" (one α a request), "per-dimension", "constant" (nothing learned), or "best": the
    one of them that validation prefers."""
    gate_width: int = _within(16, 1, 4_096)
    max_positions: int = _within(10_000, 1, 10_000_000)
    """Training positions that the gate and the interest head read at most."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            for allowed, holds in setting.metadata.items():
                if not holds(value):
                    raise DataError(f"{_spoken(setting.name)} must be {allowed}, not {value!r}")
        if self.width % self.num_heads:
            raise DataError(f"width {self.width} is no multiple of num_heads {self.num_heads}")
        self._check_text_encoder()

    def _check_text_encoder(self) -> None:
        if self.text_encoder in ("", "none"):
            raise DataError(
                f"text_encoder must be default, a folder or a hub id, not {self.text_encoder!r}: "
                "without one no item has a text vector"
            )
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
