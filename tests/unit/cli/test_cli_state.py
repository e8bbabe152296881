"""The state folder: one secret, one user at a time."""

import stat
from pathlib import Path

import pytest

from groundswell.cli.failures import CommandError
from groundswell.cli.state import State


def test_the_secret_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    with State(tmp_path / "state") as state:
        first = state.secret()
    with State(tmp_path / "state") as state:
        assert state.secret() == first
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "state/secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_two_deployments_have_two_secrets(tmp_path: Path) -> None:
    with State(tmp_path / "a") as a, State(tmp_path / "b") as b:
        assert a.secret() != b.secret()


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        state.secret()
        (tmp_path / "secret").chmod(0o644)
        with pytest.raises(CommandError, match="chmod 600"):
            state.secret()


def test_a_state_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        State(tmp_path),
        pytest.raises(CommandError, match="in use by another"),
        State(tmp_path),
    ):
        pass
    with State(tmp_path) as again:
        assert again.secret()


def test_a_cleared_state_is_new(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        first = state.secret()
        state.database.write_text("events")
        state.clear()
        assert not state.database.exists()
        assert state.secret() != first
        with pytest.raises(CommandError, match="in use by another"), State(tmp_path):
            pass
