"""Sessions over a log in memory."""

import pytest

from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.window import Window
from tests.support.sessions import Clock, MemoryLog


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changed() -> list[Window]:
    """The windows that writes changed, as they were announced."""
    return []


@pytest.fixture
def sessions(log: MemoryLog, clock: Clock, changed: list[Window]) -> Sessions:
    return Sessions(
        log,
        MemoryWindows(10, 10_000_000),
        Pseudonymizer("a secret of the tests"),
        changed=lambda _, window: changed.append(window),
        ttl_s=10.0,
        clock=clock,
        now_us=lambda: int(clock() * 1e6),
    )
