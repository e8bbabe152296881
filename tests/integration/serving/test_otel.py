"""A process ends, whatever becomes of its last spans."""

import socket
import time

import pytest

from groundswell.serving.otel import Tracing


def test_a_collector_that_hangs_delays_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        tracing = Tracing("ranker", 1.0)
        with tracing.root("a span that nobody takes", {}):
            pass
        began_s = time.monotonic()
        tracing.close()
        # Without a bound it takes 30 seconds.
        assert time.monotonic() - began_s < 20.0
