"""Settings of a training run: what may be set, and what is refused by name."""

import pytest

from groundswell.trainer.config import TrainConfig, parse_config
from groundswell.trainer.errors import DataError


def test_without_settings_the_defaults_hold() -> None:
    assert parse_config([]) == TrainConfig()


def test_a_value_is_read_as_its_settings_type() -> None:
    config = parse_config(
        ["epochs=7", "dropout=0.25", "text_encoder=/some/folder", "gate=constant"]
    )
    assert config.epochs == 7
    assert config.dropout == 0.25
    assert config.text_encoder == "/some/folder"
    assert config.gate == "constant"


def test_the_last_of_two_values_counts_and_a_value_may_hold_an_equals_sign() -> None:
    config = parse_config(["epochs=1", "epochs=2", "text_encoder=a=b"])
    assert (config.epochs, config.text_encoder) == (2, "a=b")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "--set epoch: no such setting; there are batch_windows"),
        ("epochs", "--set epochs: it must be KEY=VALUE"),
        ("epochs=three", "--set epochs: 'three' is not a whole number"),
        ("epochs=1.5", "--set epochs: '1.5' is not a whole number"),
        ("dropout=much", "--set dropout: 'much' is not a number"),
        ("dropout=1", "dropout must be from 0 to below 1, not 1.0"),
        ("id_dropout=-0.1", "id_dropout must be from 0 to below 1"),
        ("window_length=0", "window_length must be at least 1, not 0"),
        ("dimension=2", "dimension must be at least 4, not 2"),
        ("num_heads=3", "width 64 is no multiple of num_heads 3"),
        ("gate=magic", "gate must be one of best, scalar, per-dimension, constant, not 'magic'"),
        ("epochs=-1", "epochs must be at least 0, not -1"),
        ("learning_rate=0", "learning_rate must be above 0"),
        ("learning_rate=nan", "learning_rate must be above 0"),
        ("dropout=nan", "dropout must be from 0 to below 1, not nan"),
        ("ema=1", "ema must be from 0 to below 1, not 1.0"),
        ("warmup_steps=-1", "warmup_steps must be at least 0, not -1"),
        ("width=0", "width must be at least 1, not 0"),
        ("gate_width=0", "gate_width must be at least 1, not 0"),
        ("precision=half", "precision must be one of auto, float32, bfloat16, not 'half'"),
        ("recent_length=257", "recent_length must be at most 256, not 257"),
        ("dimension=100000000", "dimension must be at most 4096, not 100000000"),
        ("seed=1", "--set seed: no such setting"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        parse_config([setting])
    assert message in str(refused.value)


def test_the_text_encoders_own_settings_are_named_with_a_dot() -> None:
    config = parse_config(
        ["text_encoder.pretrain=mlm", "text_encoder.width=64", "text_encoder.finetune=lora"]
    )
    assert config.text_encoder == "default"
    assert (config.text_encoder_pretrain, config.text_encoder_finetune) == ("mlm", "lora")
    assert config.text_encoder_width == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["text_encoder=none"], "text_encoder must be default, a folder or a hub id, not 'none'"),
        (["text_encoder="], "not ''"),
        (["text_encoder=none", "text_encoder.pretrain=mlm"], "text_encoder must be default"),
        (["text_encoder.pretrain=bpe"], "text_encoder.pretrain must be one of none, mlm, not"),
        (["text_encoder.finetune=some"], "text_encoder.finetune must be one of none, lora, full"),
        (["text_encoder.layers=2"], "text_encoder.layers means nothing without"),
        (["text_encoder.steps=9"], "text_encoder.steps means nothing without text_encoder.pre"),
        (["text_encoder.finetune_steps=9"], "text_encoder.finetune_steps means nothing without"),
        (
            ["text_encoder.finetune=full", "text_encoder.rank=4"],
            "text_encoder.rank means nothing without text_encoder.finetune=lora",
        ),
        (
            ["text_encoder=/some/bert", "text_encoder.pretrain=mlm", "text_encoder.vocabulary=99"],
            "text_encoder=default: a named encoder has its own",
        ),
        (
            ["text_encoder.pretrain=mlm", "text_encoder.width=50"],
            "text_encoder.width must be a multiple of 32, not 50",
        ),
        (
            ["text_encoder.pretrain=mlm", "text_encoder.layers=-1"],
            "text_encoder.layers must be at least 0, not -1",
        ),
        (
            ["text_encoder.finetune=lora", "text_encoder.rank=0"],
            "text_encoder.rank must be at least 1, not 0",
        ),
        (["text_encoder.width=wide"], "--set text_encoder.width: 'wide' is not a whole number"),
        (["text_encoder_width=64"], "--set text_encoder_width: no such setting"),
        (["text_encoder.depth=2"], "--set text_encoder.depth: no such setting"),
    ],
)
def test_what_makes_no_sense_for_a_text_encoder_is_refused_by_name(
    settings: list[str], message: str
) -> None:
    with pytest.raises(DataError) as refused:
        parse_config(settings)
    assert message in str(refused.value)
