"""A proxy in the environment is not asked for what is on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.cli.suite.deployment import free_ports
from groundswell.client import Deadlines, GroundswellClient, GroundswellError
from groundswell.ranker.v1.ranker_service_pb2 import (
    DEGRADATION_PROFILE_UNAVAILABLE,
    DEGRADATION_SESSION_UNAVAILABLE,
)
from tests.support.cli import Up
from tests.support.processes import free_port
from tests.support.waiting import eventually


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names a proxy that is not there, for everything."""
    address = f"http://127.0.0.1:{free_port()}"
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("dead_proxy")
def test_everything_works_under_a_proxy_that_is_not_there(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\nitem-1,Laughing River\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,action,timestamp\nanna,item-1,click,1700000000\n"
    )
    with Up(bundles, tmp_path, free_ports()) as up:
        up.wait_ready()
        for kind in ("items", "events"):
            assert up.call(kind, "import", str(tmp_path / f"{kind}.csv")).returncode == 0
        # The ranker asks both other services.
        with GroundswellClient(up.ports.targets) as client:
            away = {DEGRADATION_PROFILE_UNAVAILABLE, DEGRADATION_SESSION_UNAVAILABLE}
            eventually(lambda: not away & set(client.recommend("anna").degradations))
        probed = subprocess.run(
            [sys.executable, "-m", "groundswell.serving.health_probe", up.ports.targets.ranker],
            check=False,
            timeout=60,
        )
        assert probed.returncode == 0
        with (
            GroundswellClient(
                up.ports.targets, deadlines=Deadlines(read_s=1), http_proxy=True
            ) as client,
            pytest.raises(GroundswellError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"),
        ):
            client.recommend("anna")
