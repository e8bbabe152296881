"""Refuses a device that the machine does not have, before any work is done."""

from groundswell.models.devices import device_problem
from groundswell.trainer.errors import DataError


def check_device(device: str) -> None:
    """Raise DataError saying why "cpu" or "cuda" cannot be used."""
    problem = device_problem(device)
    if problem is not None:
        raise DataError(f"--device {problem}; use --device cpu")
