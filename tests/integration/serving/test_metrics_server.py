"""The port of the metrics answers, whoever else is connected to it."""

import socket
import threading
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from groundswell.serving import metrics_server
from groundswell.serving.settings import ServingSettings
from tests.support.processes import SECRET, free_port
from tests.support.waiting import eventually


def num_threads() -> int:
    return sum("process_request_thread" in one.name for one in threading.enumerate())


def test_silent_connections_take_few_threads_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "_MAX_CONNECTIONS", 4)
    monkeypatch.setattr(metrics_server, "_TIMEOUT_S", 3.0)
    port = free_port()
    settings = ServingSettings(secret=SECRET, port=0, bundles=tmp_path, metrics_port=port)
    stop = metrics_server.start_metrics(settings, None)
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
                    return b"groundswell_reloads_failing" in page.read()
            except OSError:
                return False
            finally:  # by now all the others were taken, or refused
                assert num_threads() <= 4

        eventually(answers, 60)
    stop()
