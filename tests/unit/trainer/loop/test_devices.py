"""A device that is not there is refused before any work, by what is missing."""

import pytest
import torch

from groundswell.models.devices import device_problem
from groundswell.trainer.errors import DataError
from groundswell.trainer.loop.devices import check_device


def test_the_cpu_is_always_there() -> None:
    check_device("cpu")


def test_a_build_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DataError, match=r"--device cuda: this PyTorch .* is built without CUDA"):
        check_device("cuda")


def test_a_machine_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_problem("cuda:0") == "cuda:0: PyTorch finds no GPU on this machine"


def test_a_gpu_beyond_the_last_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_problem("cuda:1") is None
    assert device_problem("cuda") is None
    assert device_problem("cuda:99") == "cuda:99: this machine has 2 GPUs, cuda:0 to cuda:1"
