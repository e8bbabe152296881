"""An encoder trained for a catalogue: what it learns, what is written, and what is kept of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizers import Tokenizer
from torch.nn import functional

from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TEST, Prepared, load_prepared
from groundswell.trainer.errors import DataError, TrainError
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.run import Run, open_run
from groundswell.trainer.text_encoder.corpus import pretraining_texts
from groundswell.trainer.text_encoder.finetune import next_item_loss
from groundswell.trainer.text_encoder.own_encoder import own_encoder
from groundswell.trainer.text_encoder.resolve import (
    EncoderFolder,
    put_text_encoder,
    resolve_text_encoder,
)
from tests.support.texts import caption_world, captions

PRETRAIN = (
    "text_encoder.pretrain=mlm",
    "text_encoder.layers=2",
    "text_encoder.width=32",
    "text_encoder.steps=150",
    "max_tokens=32",
)
TEXTS = captions(40, 4)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> TrainingLog:
    folder = tmp_path_factory.mktemp("captions")
    world = caption_world(folder)
    prepare(world.events, world.items, folder / "prepared")
    return TrainingLog(load_prepared(folder / "prepared"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@contextmanager
def running(folder: Path, *settings: str, seed: int = 0) -> Iterator[Run]:
    config = parse_config(settings)
    with open_run(config, "cpu", seed, folder, Console(quiet=True)) as run:
        yield run


@pytest.fixture(scope="module")
def pretrained(log: TrainingLog, cache: Path) -> Path:
    with running(cache / "logs", *PRETRAIN) as run:
        return own_encoder(log.prepared.texts, log, cache, run).folder


def vectors(folder: Path) -> NDArray[np.float32]:
    return load_torch_encoder(folder, 32, "cpu").encode(TEXTS)


def curve(folder: Path, name: str) -> list[float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [scalar.value for scalar in events.Scalars(name)]


def test_both_losses_of_pre_training_fall(pretrained: Path, cache: Path) -> None:
    assert (pretrained / "config.json").is_file()
    for part in ("mlm", "parts"):
        losses = curve(cache / "logs", f"text pre-training/{part}")
        assert np.mean(losses[-3:]) < losses[0] - 0.2, part


def test_texts_of_one_category_come_near_each_other_by_pre_training(pretrained: Path) -> None:
    unit = vectors(pretrained)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    category = np.arange(len(TEXTS)) % 4
    same = (category[:, None] == category) & ~np.eye(len(TEXTS), dtype=bool)
    other = category[:, None] != category
    similar = unit @ unit.T
    assert similar[same].mean() > similar[other].mean() + 0.2


def test_the_own_vocabulary_knows_the_texts_that_the_default_encoder_does_not(
    pretrained: Path,
) -> None:
    default = resolve_text_encoder("default", 32).folder
    assert unknown_share(pretrained) == 0
    assert unknown_share(default) > 0.5


def unknown_share(folder: Path) -> float:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    encodings = tokenizer.encode_batch(TEXTS, add_special_tokens=False)
    tokens = [token for encoding in encodings for token in encoding.tokens]
    return tokens.count("[UNK]") / len(tokens)


def test_a_second_run_finds_the_encoder_and_another_seed_trains_another(
    log: TrainingLog, cache: Path, pretrained: Path, tmp_path: Path
) -> None:
    items = log.prepared.texts
    with running(tmp_path, *PRETRAIN, "epochs=3") as run:
        assert own_encoder(items, log, cache, run).folder == pretrained
    assert not curve_names(tmp_path)
    with running(tmp_path, *PRETRAIN, seed=1) as run:
        other = own_encoder(items, log, cache, run).folder
    assert not np.allclose(vectors(other), vectors(pretrained))
    assert not list(cache.glob("*.building"))


def curve_names(folder: Path) -> list[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return list(events.Tags()["scalars"])


def test_the_same_seed_trains_the_same_encoder(
    log: TrainingLog, pretrained: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    with running(tmp_path / "logs", *PRETRAIN) as run:
        again = own_encoder(log.prepared.texts, log, tmp_path / "elsewhere", run).folder
    np.testing.assert_array_equal(vectors(again), vectors(pretrained))


def test_a_given_encoder_goes_on_from_its_weights_with_its_own_vocabulary(
    log: TrainingLog, pretrained: Path, tmp_path: Path
) -> None:
    more = ("text_encoder.pretrain=mlm", "text_encoder.steps=5", "max_tokens=32")
    with running(tmp_path / "logs", *more, f"text_encoder={pretrained}") as run:
        encoder = own_encoder(log.prepared.texts, log, tmp_path / "trained", run)
    assert encoder.source == f"{pretrained.name}+mlm"
    assert (encoder.folder / "tokenizer.json").read_text() == (
        pretrained / "tokenizer.json"
    ).read_text()
    before, after = vectors(pretrained), vectors(encoder.folder)
    cosine = (
        (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    )
    assert cosine.min() > 0.9 and cosine.max() < 1


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_fine_tuning_leaves_a_plain_encoder_that_says_something_else(
    kind: str, log: TrainingLog, cache: Path, pretrained: Path, tmp_path: Path
) -> None:
    encoder = finetuned(kind, log, cache, tmp_path)
    assert encoder.source == f"own+mlm+{kind}"
    before, after = (load_file(f / "model.safetensors") for f in (pretrained, encoder.folder))
    assert {n: w.shape for n, w in before.items()} == {n: w.shape for n, w in after.items()}
    assert np.abs(vectors(encoder.folder) - vectors(pretrained)).max() > 0.01
    losses = curve(tmp_path, "text fine-tuning/next_item")
    assert losses[-1] < losses[0]


def finetuned(kind: str, log: TrainingLog, cache: Path, logs: Path) -> EncoderFolder:
    settings = (*PRETRAIN, f"text_encoder.finetune={kind}", "text_encoder.finetune_steps=40")
    with running(logs, *settings) as run:
        return own_encoder(log.prepared.texts, log, cache, run)


def test_what_is_exported_of_merged_adapters_says_what_torch_says(
    log: TrainingLog, cache: Path, tmp_path: Path
) -> None:
    folder = finetuned("lora", log, cache, tmp_path / "logs").folder
    put_text_encoder(folder, tmp_path / "bundle", 32, tmp_path / "exported")
    exported = OnnxTextEncoder(tmp_path / "bundle", 32)
    np.testing.assert_allclose(exported.encode(TEXTS), vectors(folder), atol=1e-4)
    assert {exported.unknown_share(tokens) for tokens in exported.tokenise(TEXTS)} == {0.0}
    assert [file.suffix for file in (tmp_path / "exported").iterdir()] == [".onnx"]


def test_an_item_that_comes_next_twice_is_no_negative_of_itself() -> None:
    recent, following = torch.eye(3), torch.eye(3)[[0, 0, 1]]
    shares = torch.log(torch.tensor([0.5, 0.5, 0.25]))
    twice = next_item_loss(recent[[0, 0, 1]], following, torch.tensor([7, 7, 8]), shares)
    assert twice.item() == pytest.approx(0, abs=1e-6)


def test_a_popular_negative_counts_less_than_a_rare_one() -> None:
    vectors_Bt = functional.normalize(torch.ones(2, 2), dim=1)
    items = torch.tensor([0, 1])
    shares = torch.log(torch.tensor([0.9, 0.1]))
    losses = [
        functional.cross_entropy(-shares[None], torch.tensor([row])).item() for row in range(2)
    ]
    both = next_item_loss(vectors_Bt, vectors_Bt, items, shares)
    assert losses[0] > losses[1]
    assert both.item() == pytest.approx(np.mean(losses), abs=1e-5)


def test_what_is_learned_from_holds_every_item_once_and_histories_of_training_alone(
    log: TrainingLog,
) -> None:
    prepared = log.prepared
    texts = pretraining_texts(prepared.texts, log, 4, 0)
    own, chunks = texts[: len(set(prepared.texts))], texts[len(set(prepared.texts)) :]
    assert sorted(own) == sorted(set(prepared.texts))
    # Twelve events a user, the last two held out: two whole chunks of training and a half one.
    assert 0 < len(chunks) <= len(own)
    moved = with_other_test_events(prepared)
    assert pretraining_texts(prepared.texts, TrainingLog(moved), 4, 0) == texts


def with_other_test_events(prepared: Prepared) -> Prepared:
    items = prepared.items.copy()
    items[prepared.split_of == TEST] = 0
    return replace(prepared, items=items)


def test_other_test_events_find_the_same_fine_tuned_encoder(
    log: TrainingLog, cache: Path, tmp_path: Path
) -> None:
    moved = TrainingLog(with_other_test_events(log.prepared))
    first = finetuned("lora", log, cache, tmp_path / "first")
    assert finetuned("lora", moved, cache, tmp_path / "second") == first


def test_texts_without_a_word_are_refused(log: TrainingLog, tmp_path: Path) -> None:
    blank = [" "] * log.prepared.num_items
    empty = TrainingLog(load_prepared(log.prepared.folder))
    empty.prepared.titles[:] = blank
    with running(tmp_path, *PRETRAIN) as run, pytest.raises(DataError, match="two texts or more"):
        own_encoder(blank, empty, tmp_path / "trained", run)
    with (
        running(tmp_path, "text_encoder.finetune=full") as run,
        pytest.raises(DataError, match="next items with texts"),
    ):
        own_encoder(blank, empty, tmp_path / "trained", run)
    assert not list((tmp_path / "trained").iterdir())


def test_an_encoder_made_for_shorter_texts_is_refused(
    log: TrainingLog, pretrained: Path, tmp_path: Path
) -> None:
    settings = (f"text_encoder={pretrained}", "max_tokens=64")
    with running(tmp_path, *settings) as run, pytest.raises(DataError, match="32 tokens at most"):
        own_encoder(log.prepared.texts, log, tmp_path / "trained", run)


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_nothing(
    log: TrainingLog, pretrained: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(pretrained, broken)
    weights = load_file(broken / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    save_file(
        {**weights, name: weights[name] * float("nan")},
        broken / "model.safetensors",
        metadata={"format": "pt"},
    )
    settings = ("text_encoder.pretrain=mlm", "text_encoder.steps=5", "max_tokens=32")
    with (
        running(tmp_path / "logs", *settings, f"text_encoder={broken}") as run,
        pytest.raises(TrainError, match="mlm loss of the text pre-training became nan in step 0"),
    ):
        own_encoder(log.prepared.texts, log, tmp_path / "trained", run)
    assert not list((tmp_path / "trained").iterdir())
