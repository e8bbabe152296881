"""Checks that PyTorch can use a device, before any work starts on it."""

import torch


def device_problem(device: str) -> str | None:
    """Return why "cpu", "cuda" or "cuda:N" cannot be used here; None where it can."""
    if device == "cpu":
        return None
    if torch.version.cuda is None:
        return f"{device}: this PyTorch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return f"{device}: PyTorch finds no GPU on this machine"
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        return f"{device}: this machine has {count} GPUs, cuda:0 to cuda:{count - 1}"
    return None
