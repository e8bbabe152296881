"""Measures whether a device multiplies bfloat16 numbers faster than float32."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

_ROWS, _WIDTH, _ITEMS = 1024, 64, 4096
_FEW_ROWS = 16
_REPEATS = 5
_CLEARLY = 1.3
"""The speedup from which bfloat16 is used."""
_EMULATED = 0.2
"""The highest speedup of a processor that emulates it."""


def bfloat16_is_faster(device: torch.device) -> bool:
    """Measure the product that training spends most of its time on, a few milliseconds each.

    Some processors multiply bfloat16 several times as fast as float32. Others emulate it, and would
    take seconds: a product of few rows, which is measured first, shows that.
    """
    return _speedup(_FEW_ROWS, device) > _EMULATED and _speedup(_ROWS, device) > _CLEARLY


def _speedup(rows: int, device: torch.device) -> float:
    """Return how many times as fast a product of bfloat16 is as one of float32."""
    users_nd = torch.ones(rows, _WIDTH, device=device)
    items_dN = torch.ones(_WIDTH, _ITEMS, device=device)
    halves = users_nd.to(torch.bfloat16), items_dN.to(torch.bfloat16)
    full = _best_of(lambda: users_nd @ items_dN, device)
    half = _best_of(lambda: halves[0] @ halves[1], device)
    return full / half


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
