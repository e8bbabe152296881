"""Finds out how PyTorch can use a device, before any work starts on it."""

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


def has_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def gpu_name(device: str) -> str:
    """Return the name that its maker gave to a GPU, "cuda" or "cuda:N"."""
    return str(torch.cuda.get_device_name(device))


def use_threads(threads: int) -> None:
    """Let every later computation of this process on the CPU use so many threads."""
    torch.set_num_threads(threads)
