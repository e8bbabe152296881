"""A real server on the project's server code, in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.processes import Process, free_port, service_process


class Server:
    """The running probe server and a channel to it."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(self.address)


def start(folder: Path, **environment: str) -> tuple[Process, int]:
    """The probe server as a process that is not started yet, and its port."""
    port = free_port()
    limits = {"GROUNDSWELL_MAX_CONCURRENT_RPCS": "8", "GROUNDSWELL_MAX_STREAMS_PER_PEER": "8"}
    settings = {**limits, **environment}
    process = service_process(
        "tests.support.probe_server", port, folder, folder / "server.log", settings
    )
    return process, port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it as it is."""
    process, port = start(tmp_path_factory.mktemp("server"))
    with process:
        process.wait_serving(f"127.0.0.1:{port}")
        running = Server(process, port)
        yield running
        running.channel.close()
