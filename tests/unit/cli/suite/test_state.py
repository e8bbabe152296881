"""The state folder: one secret, one user at a time."""

import errno
import os
import stat
from pathlib import Path

import pytest

from groundswell.cli.failures import CommandError
from groundswell.cli.suite.state import State


def test_the_secret_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    with State(tmp_path / "state") as state:
        first = state.secrets()
    with State(tmp_path / "state") as state:
        assert state.secrets() == first
    (secret,) = first
    assert len(secret) >= 32
    assert stat.S_IMODE((tmp_path / "state/secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_two_deployments_have_two_secrets(tmp_path: Path) -> None:
    with State(tmp_path / "a") as a, State(tmp_path / "b") as b:
        assert a.secrets() != b.secrets()


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        state.secrets()
        (tmp_path / "secret").chmod(0o644)
        with pytest.raises(CommandError, match="chmod 600"):
            state.secrets()


def test_a_state_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        State(tmp_path),
        pytest.raises(CommandError, match="in use by another"),
        State(tmp_path),
    ):
        pass
    with State(tmp_path) as again:
        assert again.secrets()


def test_a_cleared_state_is_new(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        first = state.secrets()
        state.database.write_text("events")
        state.clear()
        assert not state.database.exists()
        assert state.secrets() != first
        with pytest.raises(CommandError, match="in use by another"), State(tmp_path):
            pass


def test_a_file_in_the_folders_place_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/state"):
        with (
            pytest.raises(CommandError, match=r"the state folder .* cannot be written.*--state"),
            State(folder),
        ):
            pass


def test_a_full_disk_is_named_and_leaves_no_half_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with State(tmp_path) as state:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(CommandError, match=f"{tmp_path} cannot be written: No space left"):
                state.secrets()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        assert state.secrets()


def test_a_newer_secret_comes_behind_those_before_and_stays_private(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        first = state.secrets()
        state.add_secret()
        assert state.secrets()[:-1] == first
        assert len(set(state.secrets())) == 2
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_secret_of_an_earlier_release_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret-of-43-characters\n".replace(" ", "-"))
    (tmp_path / "secret").chmod(0o600)
    with State(tmp_path) as state:
        assert state.secrets() == ("a-secret-of-43-characters",)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00", b"\x80"])
def test_a_damaged_secret_is_named_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    with State(tmp_path) as state:
        for use in (state.secrets, state.add_secret):
            with pytest.raises(CommandError, match=r"secret is damaged.*from a backup"):
                use()
    assert (tmp_path / "secret").read_bytes() == content
