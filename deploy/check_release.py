"""Installs a built wheel part by part into clean environments, and tries what each part is for.

Usage: python deploy/check_release.py DIST [PART ...], where DIST holds the wheel and PART is one of
client, session, ranker, profile, cli, worker, train; by default all. `CHECK_PYTHON` names another
interpreter. Exit code 1, and what was said, when a part does not work.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = ("client", "session", "ranker", "profile", "cli", "worker", "train")
_CLIENT = """
import sys
from importlib.metadata import version
from groundswell.client import GroundswellClient, event
GroundswellClient().close()
event("anna", "i1", "click")
assert not {"numpy", "pydantic"} & set(sys.modules)
try:
    import numpy
except ModuleNotFoundError:
    print(version("groundswell"))
else:
    raise SystemExit("numpy is installed")
"""
_WORKER = "import torch, transformers, groundswell.profile_service.process"


def check(wheel: Path, part: str, folder: Path) -> str:
    """Install one part into a new environment and try it; return what is wrong, else nothing."""
    python = folder / "bin/python"
    what = f"{wheel}[{part}]" if part != "client" else str(wheel)
    _run(os.environ.get("CHECK_PYTHON", sys.executable), "-m", "venv", folder)
    constraints = Path(__file__).parents[1] / "constraints.txt"
    _run(python, "-m", "pip", "install", "-q", "--no-compile", "-c", constraints, what)
    if part == "client":
        return _wrong(_said(python, "-c", _CLIENT), 0, wheel.name.split("-")[1])
    if part == "worker":
        return _wrong(_said(python, "-c", _WORKER), 0, "")
    if part in ("cli", "train"):
        help_of = ["train"] if part == "train" else []
        wrong = _wrong(_said(folder / "bin/groundswell", *help_of, "--help"), 0, "Usage")
        version = _said(folder / "bin/groundswell", "--version")
        return wrong or _wrong(version, 0, f"groundswell {wheel.name.split('-')[1]}")
    refused = _said(python, "-m", f"groundswell.{part}_service")
    return _wrong(refused, 2, "GROUNDSWELL_SECRET: is not set")


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


def _said(*command: object) -> "subprocess.CompletedProcess[str]":
    words = [str(word) for word in command]
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(words, capture_output=True, text=True, env=clean, cwd="/", check=False)


def _wrong(done: "subprocess.CompletedProcess[str]", code: int, text: str) -> str:
    said = done.stdout + done.stderr
    return "" if done.returncode == code and text in said else f"status {done.returncode}: {said}"


def main() -> int:
    """Check the parts that are named, else all; return the exit code."""
    dist, *parts = sys.argv[1:]
    (wheel,) = Path(dist).resolve().glob("*.whl")
    failed = False
    for part in parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(wheel, part, Path(folder))
        sys.stdout.write(f"{wheel.name} {part}: {wrong or 'works'}\n")
        failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
