"""Folders of bundles that people copied or renamed, or that hold files of killed runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundswell.artifacts.bundle import column_of
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore, load_bundle


@pytest.fixture
def root(bundles: Path, tmp_path: Path) -> Path:
    """A folder of bundles that a test may change; the files are links to shared ones."""
    copy = Path(shutil.copytree(bundles, tmp_path / "bundles", copy_function=os.link))
    (copy / "current").unlink()
    shutil.copy(bundles / "current", copy / "current")
    return copy


def only_id(root: Path) -> str:
    (bundle_id,) = BundleStore(root).manifests()
    return bundle_id


def test_the_pointer_survives_a_copy_that_follows_links(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=False)
    assert (copy / "current").read_text() == f"{only_id(root)}\n"
    assert load_bundle(copy).id == load_bundle(copy / "current").id == only_id(root)


def test_the_link_of_earlier_versions_is_read_and_replaced(root: Path) -> None:
    store, bundle_id = BundleStore(root), only_id(root)
    (root / "current").unlink()
    (root / "current").symlink_to(bundle_id)
    assert store.current() == bundle_id
    assert load_bundle(root / "current").id == bundle_id
    store.set_current(bundle_id)
    assert not (root / "current").is_symlink()
    assert store.current() == bundle_id


def test_a_copied_link_is_read_as_the_bundle_that_it_is_a_copy_of(root: Path) -> None:
    (root / "current").unlink()
    shutil.copytree(root / only_id(root), root / "current")
    assert BundleStore(root).current() == only_id(root)
    (root / "current/session.onnx").write_bytes(b"nobody reads it")
    assert load_bundle(root).id == only_id(root)


def test_a_folder_in_the_pointers_place_is_named_before_a_bundle_is_built(root: Path) -> None:
    (root / "current").unlink()
    shutil.copytree(root / only_id(root), root / "current")
    store = BundleStore(root)
    with pytest.raises(BundleError, match=r"is a folder.*remove or rename it"), store.workspace():
        pytest.fail("the work began")
    with pytest.raises(BundleError, match=r"is a folder.*remove or rename it"):
        store.set_current(only_id(root))


def test_a_copied_bundle_without_the_original_is_named_with_what_to_do(root: Path) -> None:
    bundle_id = only_id(root)
    (root / "current").unlink()
    (root / bundle_id).rename(root / "current")
    with pytest.raises(BundleError, match=f"rename it to {bundle_id}") as caught:
        BundleStore(root).current()
    assert caught.value.reason == "CURRENT_INVALID"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "  \n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_pointer_that_an_editor_wrote_is_read(root: Path, mark: str, ending: str) -> None:
    bundle_id = only_id(root)
    (root / "current").write_bytes(f"{mark}{bundle_id}{ending}".encode())
    assert BundleStore(root).current() == bundle_id


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"..", b"../other", b"a\\b", b"/etc", b"\xff\xfe", b"a\0b", b"x" * 9999]
)
def test_a_pointer_that_names_nothing_is_named(root: Path, content: bytes) -> None:
    (root / "current").write_bytes(content)
    with pytest.raises(BundleError, match="current names no bundle") as caught:
        load_bundle(root)
    assert caught.value.reason == "CURRENT_INVALID"


def test_a_pointer_to_a_bundle_that_is_not_there_is_named(root: Path) -> None:
    (root / "current").write_text("feedfeedfeedfeed\n")
    with pytest.raises(BundleError, match="names feedfeedfeedfeed, and there is no such bundle"):
        load_bundle(root)


def test_a_renamed_bundle_is_told_from_a_changed_one(root: Path) -> None:
    bundle_id = only_id(root)
    (root / bundle_id).rename(root / "best")
    for load in (lambda: load_bundle(root / "best"), lambda: BundleStore(root).check("best")):
        with pytest.raises(BundleError, match=rf"folder best.*{bundle_id}.*rename it back"):
            load()


@pytest.mark.parametrize("name", [".DS_Store", "text_encoder/._model.onnx", "Thumbs.db", ".nfs01"])
def test_what_a_system_leaves_in_a_bundle_does_no_harm(root: Path, name: str) -> None:
    bundle_id = only_id(root)
    (root / bundle_id / name).write_bytes(b"left")
    BundleStore(root).check(bundle_id)
    assert load_bundle(root).id == bundle_id


def test_a_stray_file_is_seen_without_reading_the_bundle(root: Path) -> None:
    bundle_id = only_id(root)
    (root / bundle_id / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"does not list: notes\.txt; remove it"):
        BundleStore(root).check(bundle_id)


def test_a_file_of_another_size_is_seen_without_reading_the_bundle(root: Path) -> None:
    bundle_id = only_id(root)
    file = root / bundle_id / "fusion.onnx"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"fusion\.onnx of .* was changed"):
        BundleStore(root).check(bundle_id)


_KILLED = """
import os, sys
from pathlib import Path
from groundswell.artifacts.workspaces import open_workspace
with open_workspace(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    if sys.argv[2] == "dies":
        os._exit(9)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_and_a_live_runs_folder_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    left = Path(subprocess.run([*command, "dies"], stdout=subprocess.PIPE).stdout.decode().strip())
    live = subprocess.Popen([*command, "lives"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert live.stdout is not None and live.stdin is not None
    held = Path(live.stdout.readline().decode().strip())
    assert not left.exists(), "the next run removes what the killed one left"
    unknown = tmp_path / ".building-by-an-earlier-version"
    unknown.mkdir()
    (unknown / "half").touch()
    empty = tmp_path / ".building-killed-at-once"
    empty.mkdir()
    try:
        with BundleStore(tmp_path).workspace():
            assert (held / "half").exists()
            assert unknown.exists()
            assert not empty.exists()
    finally:
        live.stdin.close()
        live.wait(10)
        live.stdout.close()
    assert f"{held} is kept" in caplog.text
    assert f"{unknown} is kept" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [unknown.name]


@pytest.mark.parametrize("name", ["~", "file:x", "http:x", "a=b", "b [1]*?%20"])
def test_tables_of_a_bundle_are_read_from_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    pq.write_table(pa.table({"item_id": ["x"]}), str(tmp_path / name / "items.parquet"))
    assert column_of(Path(name) / "items.parquet", "item_id").to_pylist() == ["x"]
