"""`docs/check_links.py` finds every link that leads nowhere, and no other."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check(folder: Path) -> tuple[int, list[str]]:
    script = ROOT / "docs/check_links.py"
    done = subprocess.run(
        [sys.executable, script, folder], capture_output=True, encoding="utf-8", check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_broken_links_are_listed_with_their_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text("# One `word`\n\n## Again\n\n## Again\n")
    (tmp_path / "README.md").write_text(
        "[file](docs/gone.md) [page](docs/page.md) [heading](docs/page.md#one-word)\n"
        "[second](docs/page.md#again-1) [third](docs/page.md#again-2) [own](#no-such)\n\n"
        "| table |\n|---|\n| ![picture](gone.png) |\n\n"
        "[folder](docs) [other host](https://example.org/gone) `[code](is/no/link)`\n"
        "[by name][name]\n\n[name]: docs/also-gone.md\n"
    )
    assert check(tmp_path) == (
        1,
        [
            "README.md: docs/gone.md",
            "README.md: docs/page.md#again-2",
            "README.md: #no-such",
            "README.md: gone.png",
            "README.md: docs/also-gone.md",
        ],
    )


def test_whole_pages_and_hidden_or_built_folders_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[b](sub/b.md)")
    for folder, text in (("sub", "[a](../a.md)"), (".venv", "[x](gone)"), ("build", "[x](gone)")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b.md").write_text(text)
    assert check(tmp_path) == (0, [])
