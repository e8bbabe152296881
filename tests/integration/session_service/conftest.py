"""A profile service and a session service as processes of their own, over one tiny bundle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from groundswell.client import Deadlines, GroundswellClient, Targets, item
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.processes import Process, free_port, service_process

APPEND_TIMEOUT_S = 1.0
LIST_TIMEOUT_S = 0.5


@dataclass
class Deployment:
    """Both services and a client of them."""

    bundles: Path
    profile: Process
    session: Process
    targets: Targets
    client: GroundswellClient

    def start_profile(self) -> None:
        """Start the profile service and wait until it serves."""
        self.profile.start()
        self.profile.wait_serving(self.targets.profile)

    def start_session(self) -> None:
        """Start the session service and wait until it serves."""
        self.session.start()
        self.session.wait_serving(self.targets.session)


def make_deployment(
    folder: Path, bundles: Path, profile_environment: Mapping[str, str] | None = None
) -> Deployment:
    """Neither service is started yet."""
    profile_port, session_port = free_port(), free_port()
    targets = Targets(
        profile=f"127.0.0.1:{profile_port}",
        session=f"127.0.0.1:{session_port}",
        ranker="127.0.0.1:1",
    )
    profile = service_process(
        "groundswell.profile_service",
        profile_port,
        bundles,
        folder / "profile.log",
        {
            "GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'groundswell.db'}",
            **(profile_environment or {}),
        },
    )
    session = service_process(
        "groundswell.session_service",
        session_port,
        bundles,
        folder / "session.log",
        {
            "GROUNDSWELL_PROFILE_ADDRESS": targets.profile,
            "GROUNDSWELL_APPEND_TIMEOUT_S": str(APPEND_TIMEOUT_S),
            "GROUNDSWELL_LIST_TIMEOUT_S": str(LIST_TIMEOUT_S),
            "GROUNDSWELL_WINDOW_TTL_S": "3",
        },
    )
    client = GroundswellClient(targets, deadlines=Deadlines(read_s=10, write_s=10))
    return Deployment(bundles, profile, session, targets, client)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Deployment]:
    """Both services, serving, with the items of the tiny bundle in the catalogue."""
    deployment = make_deployment(tmp_path_factory.mktemp("suite"), bundles)
    with deployment.client, deployment.profile, deployment.session:
        deployment.profile.wait_serving(deployment.targets.profile)
        deployment.session.wait_serving(deployment.targets.session)
        deployment.client.upsert_items(
            [item(item_id, title, categories=categories) for item_id, title, categories in ITEMS]
        )
        for _ in deployment.client.refresh_profiles():
            pass
        yield deployment
