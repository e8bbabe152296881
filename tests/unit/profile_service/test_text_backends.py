"""The text backend that encodes chunks is the fastest that passes the recall test, tried once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.text_sample import read_text_sample, write_text_sample
from groundswell.profile_service.settings import WorkerSettings
from groundswell.profile_service.worker.text_backends import choice
from groundswell.profile_service.worker.text_backends.backend import Machine
from groundswell.profile_service.worker.text_backends.registry import BACKENDS
from groundswell.profile_service.worker.text_backends.trials import Trial, nearest, recall

MACHINE = Machine()


def bundle(mode: str = "read", fingerprint: str = "bert") -> Bundle:
    """What the choice reads of a bundle."""
    manifest: Any = SimpleNamespace(
        history_text=SimpleNamespace(mode=mode), text=SimpleNamespace(fingerprint=fingerprint)
    )
    return cast(Bundle, SimpleNamespace(manifest=manifest))


class Trials:
    """What the backends would show; counts how often they are tried."""

    def __init__(self, **shown: Trial) -> None:
        self.shown = {trial.backend: trial for trial in shown.values()}
        self.num_calls = 0

    def __call__(self, _: Bundle, names: list[str], __: Machine) -> list[Trial]:
        self.num_calls += 1
        return [self.shown[name] for name in names]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    found = Trials(
        a=Trial("onnx", 1.0, 100.0),
        b=Trial("onnx-int8", 0.87, 300.0),
        c=Trial("torch", 0.991, 200.0),
    )
    monkeypatch.setattr(choice, "_trials", found)
    return found


def test_auto_takes_the_fastest_backend_that_passes_the_recall_test(trials: Trials) -> None:
    assert choice.choose_backend(bundle(), "auto", MACHINE, None) == "torch"
    trials.shown["torch"] = Trial("torch", 0.979, 200.0)
    assert choice.choose_backend(bundle(), "auto", MACHINE, None) is None
    trials.shown["onnx-int8"] = Trial("onnx-int8", 0.98, 300.0)
    assert choice.choose_backend(bundle(), "auto", MACHINE, None) == "onnx-int8"


def test_a_named_backend_that_does_not_pass_is_refused_with_its_figure(trials: Trials) -> None:
    assert choice.choose_backend(bundle(), "torch", MACHINE, None) == "torch"
    with pytest.raises(BundleError, match=r"onnx-int8 has recall 0\.870") as refused:
        choice.choose_backend(bundle(), "onnx-int8", MACHINE, None)
    assert refused.value.reason == "BACKEND_REFUSED"
    trials.shown["torch"] = Trial("torch", 0.0, 0.0, "MemoryError: too large")
    with pytest.raises(BundleError, match="torch failed: MemoryError: too large"):
        choice.choose_backend(bundle(), "torch", MACHINE, None)


def test_nothing_is_tried_where_nothing_could_be_chosen(trials: Trials) -> None:
    assert choice.choose_backend(bundle(), "onnx", MACHINE, None) is None
    assert choice.choose_backend(bundle("skip"), "auto", MACHINE, None) is None
    assert trials.num_calls == 0


def test_figures_are_kept_until_the_encoder_or_the_machine_is_another(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "new folder"
    for _ in range(2):
        assert choice.choose_backend(bundle(), "auto", MACHINE, cache) == "torch"
    assert trials.num_calls == 1
    choice.choose_backend(bundle(fingerprint="another"), "auto", MACHINE, cache)
    choice.choose_backend(bundle(), "auto", Machine(threads=2), cache)
    choice.choose_backend(bundle(), "torch", MACHINE, cache)
    monkeypatch.setattr(choice, "_hardware", lambda _: "a faster processor")
    choice.choose_backend(bundle(), "auto", MACHINE, cache)
    assert trials.num_calls == 5
    for file in cache.iterdir():
        file.write_text("[")
    choice.choose_backend(bundle(), "auto", MACHINE, cache)
    assert trials.num_calls == 6
    trials.shown["torch"] = Trial("torch", 0.0, 0.0, "out of memory")
    for _ in range(2):
        choice.choose_backend(bundle(fingerprint="a third"), "auto", MACHINE, cache)
    assert trials.num_calls == 8


def test_the_setting_names_the_backends_there_are() -> None:
    names = get_args(WorkerSettings.model_fields["encoder_backend"].annotation)
    assert {*names} == {"auto", *BACKENDS}


def test_recall_is_the_share_of_the_nearest_items_that_stay_nearest() -> None:
    items = np.eye(40, dtype=np.float32)
    chunks = np.zeros((2, 40), np.float32)
    chunks[:, :4] = [4, 3, 2, 1]
    due = nearest(chunks, items)
    assert due.tolist() == [[0, 1, 2, 3]] * 2
    chunks[1, :6] = [4, 3, 0, 0, 2, 1]
    assert recall(nearest(chunks, items), due) == 0.75


def test_a_sample_holds_each_text_once_and_is_the_same_every_time(tmp_path: Path) -> None:
    titles = [f"title {n}" for n in range(2_000)]
    texts = [f"text {n // 2}" for n in range(1_998)] + ["", ""]
    drawn = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        write_text_sample(tmp_path / name, titles, texts)
        sample = read_text_sample(tmp_path / name)
        assert sample is not None
        drawn.append(sample)
    sample = drawn[0]
    assert drawn[1] == sample
    assert len(sample.texts) == len({*sample.texts}) == 512
    assert "" not in sample.texts
    assert sample.chunks(16) == sample.chunks(16)
    assert {text.count(";") for text in sample.chunks(16)} == {15}
    assert read_text_sample(tmp_path) is None
