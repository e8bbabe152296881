"""What a run knows of its processes before any of them talks to another."""

import numpy as np
import pytest
import torch

from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.distributed import ALONE, is_first_process, open_processes


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}])
def test_one_process_has_no_group_and_gets_back_what_it_gives(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process()
    with open_processes("cpu") as processes:
        assert processes == ALONE
        assert not torch.distributed.is_initialized()
        values = torch.tensor([1.0, 2.0])
        processes.sum(values)
        assert values.tolist() == [1.0, 2.0]
        assert processes.total(0.1) == 0.1
        (gathered,) = processes.gather(values)
        assert gathered is values
        assert processes.from_first(lambda: "a") == "a"
        array = np.ones((2, 3), np.float32)
        assert processes.array_from_first(lambda: array) is array


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = torch.cuda.device_count()
    for name, value in {"WORLD_SIZE": "9", "RANK": "8", "LOCAL_RANK": str(beyond)}.items():
        monkeypatch.setenv(name, value)
    assert not is_first_process()
    wanted = f"every process needs a GPU of its own, and this machine has {beyond}$"
    with pytest.raises(TrainError, match=wanted), open_processes("cuda"):
        raise AssertionError("it is refused before anyone waits")
