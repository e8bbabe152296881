"""Measures whether a device multiplies bfloat16 numbers faster than float32."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

_SIZE = (1024, 64, 4096)
_REPEATS = 5
_CLEARLY = 1.3


def bfloat16_is_faster(device: torch.device) -> bool:
    """Measure the product that training spends most of its time on, a few milliseconds each.

    Some processors multiply bfloat16 several times as fast as float32, others only emulate it.
    """
    n, d, items = _SIZE
    users_nd, items_dN = torch.ones(n, d, device=device), torch.ones(d, items, device=device)
    halves = users_nd.to(torch.bfloat16), items_dN.to(torch.bfloat16)
    full = _best_of(lambda: users_nd @ items_dN, device)
    half = _best_of(lambda: halves[0] @ halves[1], device)
    return full > _CLEARLY * half


def _best_of(product: Callable[[], Tensor], device: torch.device) -> float:
    product()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        product()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
