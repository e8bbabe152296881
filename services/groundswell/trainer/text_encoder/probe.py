"""A linear probe: measures how well a text encoder separates the categories of held-out items.

n items, S splits, t text dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from groundswell.artifacts.text_cache import TextCache
from groundswell.features.text import item_text
from groundswell.logs.items import Items
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.errors import DataError
from groundswell.trainer.loop.devices import check_device
from groundswell.trainer.loop.progress import working
from groundswell.trainer.loop.run import open_run
from groundswell.trainer.ranking.classification import class_scores
from groundswell.trainer.text_encoder.encode import fingerprint_of
from groundswell.trainer.text_encoder.own_encoder import pretrained_encoder

MOST_FREQUENT = "most frequent category"
DEFAULT = "default encoder"
CHOSEN = "this encoder"
_HELD_OUT = 0.2
_STRENGTHS = (0.001, 0.01, 0.1)
_MOST_ITEMS = 20_000
_FEWEST_ITEMS = 10
_RESAMPLES = 1_000
_MOST_STEPS = 1_000


class Labelled(NamedTuple):
    """Items with a category."""

    texts: list[str]
    """[n] title and description; not the categories, which are to be told."""
    categories: NDArray[np.int64]
    """[n] the primary one's number."""


class Figure(NamedTuple):
    """A value, and its 95 % interval from a bootstrap over items."""

    value: float
    low: float
    high: float


class ProbeRow(NamedTuple):
    """How one encoder did."""

    name: str
    accuracy: Figure
    macro_f1: Figure
    accuracy_above: dict[str, Figure]
    """By the name of another: how far this one's accuracy lies above, on the same items."""


class _Answers(NamedTuple):
    """What was predicted for the held-out items of all splits, m of them."""

    items: NDArray[np.int64]
    """[m]"""
    actual: NDArray[np.int64]
    """[m]"""
    predicted: dict[str, NDArray[np.int64]]
    """[m] by name"""


def probe(
    items: Items,
    config: TrainConfig,
    folder: Path,
    device: str,
    seed: int,
    splits: int,
    console: Console,
) -> list[ProbeRow]:
    """Compare the encoder of the settings with the default one and with no encoder at all.

    In each of the splits a fifth of the items is held out of everything: of the encoder's
    pre-training too, which reads no categories. `folder` keeps what was trained and encoded.
    Raises DataError when there is nothing to tell apart, or the encoder cannot be had.
    """
    check_device(device)
    if config.text_encoder_finetune != "none":
        raise DataError("text_encoder.finetune learns from events, and a probe has none")
    labelled = labelled_items(items, seed)
    names = {DEFAULT: TrainConfig(max_tokens=config.max_tokens), CHOSEN: config}
    if names[DEFAULT] == config:
        del names[CHOSEN]
    parts = []
    for number in range(splits):
        order = np.random.default_rng(seed + number).permutation(len(labelled.texts))
        held_out, known = np.split(order, [round(len(order) * _HELD_OUT)])
        most_frequent = np.bincount(labelled.categories[known]).argmax()
        predicted = {MOST_FREQUENT: np.full(len(held_out), most_frequent)}
        for name, settings in names.items():
            vectors = _vectors(
                labelled.texts, known, settings, folder, device, seed + number, console
            )
            with working(console, f"{name}: split {number + 1} of {splits}"):
                predicted[name] = _told(vectors, labelled.categories, known, held_out)
        parts.append(_Answers(held_out, labelled.categories[held_out], predicted))
    return _rows(_together(parts), seed)


def labelled_items(items: Items, seed: int) -> Labelled:
    """Take the items that have a category; of a large catalogue a sample. Raises DataError."""
    frame = items.frame.select("title", "description", "categories")
    rows = [row for row in frame.iter_rows() if row[2]]
    if len(rows) > _MOST_ITEMS:
        chosen = np.random.default_rng(seed).choice(len(rows), _MOST_ITEMS, replace=False)
        rows = [rows[number] for number in np.sort(chosen).tolist()]
    names, numbers = np.unique([categories[0] for _, _, categories in rows], return_inverse=True)
    if len(rows) < _FEWEST_ITEMS or len(names) < 2:
        raise DataError(
            f"the catalogue has {len(rows)} items with a category and {len(names)} categories: a "
            f"probe needs {_FEWEST_ITEMS} and 2"
        )
    texts = [item_text(title, (), description) for title, description, _ in rows]
    return Labelled(texts, numbers.astype(np.int64))


def _vectors(
    texts: Sequence[str],
    known: NDArray[np.int64],
    config: TrainConfig,
    folder: Path,
    device: str,
    seed: int,
    console: Console,
) -> NDArray[np.float32]:
    """[n, t] of an encoder whose own training, if it has any, reads the known texts alone."""
    with open_run(config, device, seed, folder / "tensorboard", console) as run:
        corpus = list(dict.fromkeys(texts[row] for row in np.sort(known).tolist()))
        encoder = pretrained_encoder(lambda: corpus, folder / "trained", run)
        model = load_torch_encoder(encoder.folder, config.max_tokens, device)
        cache = TextCache(folder / "vectors", model, fingerprint_of(encoder, config.max_tokens))
        task = run.progress.add_task("texts", total=len(texts), note=f"{len(texts):,} texts")
        return cache.encode(texts, lambda count: run.progress.update(task, advance=count))


def _told(
    vectors: NDArray[np.float32],
    categories: NDArray[np.int64],
    known: NDArray[np.int64],
    held_out: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Fit a logistic regression, its strength chosen on a fifth of what is known."""

    def fitted(rows: NDArray[np.int64], strength: float) -> LogisticRegression:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_STEPS)
        )
        return model.fit(vectors[rows], categories[rows])

    choosing, fitting = np.split(known, [max(1, round(len(known) * _HELD_OUT))])
    if len(np.unique(categories[fitting])) < 2:
        return np.full(len(held_out), np.bincount(categories[known]).argmax())
    scores = [
        fitted(fitting, strength).score(vectors[choosing], categories[choosing])
        for strength in _STRENGTHS
    ]
    best = fitted(known, _STRENGTHS[int(np.argmax(scores))])
    told: NDArray[np.int64] = best.predict(vectors[held_out])
    return told


def _together(parts: Sequence[_Answers]) -> _Answers:
    names = parts[0].predicted
    return _Answers(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.actual for part in parts]),
        {name: np.concatenate([part.predicted[name] for part in parts]) for name in names},
    )


def _rows(answers: _Answers, seed: int) -> list[ProbeRow]:
    """Measure all encoders on the same resamples; an item comes with its answer in each split."""
    rng = np.random.default_rng(seed)
    items, place = np.unique(answers.items, return_inverse=True)
    names = list(answers.predicted)
    everything = np.arange(len(place))
    draws = [everything]
    for _ in range(_RESAMPLES):
        times = np.bincount(rng.integers(len(items), size=len(items)), minlength=len(items))
        draws.append(np.repeat(everything, times[place]))
    accuracy = np.empty((len(draws), len(names)))
    macro_f1 = np.empty_like(accuracy)
    for number, draw in enumerate(draws):
        actual = answers.actual[draw]
        for column, name in enumerate(names):
            predicted = answers.predicted[name][draw]
            accuracy[number, column] = (predicted == actual).mean()
            macro_f1[number, column] = class_scores(actual, predicted).macro_f1
    return [
        ProbeRow(
            name,
            _figure(accuracy[:, column]),
            _figure(macro_f1[:, column]),
            {
                other: _figure(accuracy[:, column] - accuracy[:, against])
                for against, other in enumerate(names[:column])
            },
        )
        for column, name in enumerate(names)
    ]


def _figure(values: NDArray[np.float64]) -> Figure:
    """The first value is the one that was observed, the others are resampled."""
    low, high = np.quantile(values[1:], [0.025, 0.975]).tolist()
    return Figure(float(values[0]), low, high)
