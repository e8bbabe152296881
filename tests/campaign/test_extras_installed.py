"""Each part, with its extra alone in a clean environment as in its image, starts and serves."""

import subprocess
import sys
import venv
from contextlib import ExitStack
from pathlib import Path

from tests.support.postgres import Postgres
from tests.support.processes import ROOT, SECRET, Process, free_port

PARTS = ("profile", "worker", "session", "ranker", "train")
HEAVY = {"torch", "transformers"}


def installed(folder: Path, extra: str) -> Path:
    """Make an environment as the image does, and return its folder of packages."""
    venv.create(folder, with_pip=True)
    install = ["install", "-q", "--no-compile", "-c", "constraints.txt", f".[{extra}]"]
    subprocess.run([folder / "bin/pip", *install], cwd=ROOT, check=True, timeout=1_200)
    [packages] = folder.glob("lib/python*/site-packages")
    return packages


def size_mb(packages: Path) -> int:
    """What is installed, without pip, which the images lack."""
    files = (path for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if "pip" not in path.parts) // 10**6


def test_every_part_starts_with_its_own_extra(
    tmp_path: Path, bundles: Path, server: Postgres
) -> None:
    ports = {part: free_port() for part in PARTS}
    settings = {
        "GROUNDSWELL_SECRET": SECRET,
        "GROUNDSWELL_BUNDLES": str(bundles),
        "GROUNDSWELL_DATABASE_URL": server.new_database(),
        "GROUNDSWELL_ENCODER_BACKEND": "onnx",
        "GROUNDSWELL_PROFILE_ADDRESS": f"127.0.0.1:{ports['profile']}",
        "GROUNDSWELL_SESSION_ADDRESS": f"127.0.0.1:{ports['session']}",
    }
    sizes = {"client": size_mb(installed(tmp_path / "client", ""))}
    with ExitStack() as stack:
        for part in PARTS:
            packages = installed(tmp_path / part, f"{part},traces")
            sizes[part] = size_mb(packages)
            has = {path.name for path in packages.iterdir()}
            assert HEAVY & has == (HEAVY if part in ("worker", "train") else set()), part
            python = str(tmp_path / part / "bin/python")
            if part == "train":
                subprocess.run([python, "-m", "groundswell.trainer", "--help"], check=True)
                continue
            module = "profile" if part == "worker" else part
            run = ["-m", f"groundswell.{module}_service", *(["encode"] if part == "worker" else [])]
            known = {**settings, "GROUNDSWELL_PORT": str(ports[part])}
            log = tmp_path / f"{part}.log"
            process = stack.enter_context(Process(run, known, log, python=python))
            process.wait_serving(f"127.0.0.1:{ports[part]}", timeout=120)
    sys.stdout.write("".join(f"\n{part}: {size} MB" for part, size in sizes.items()) + "\n")
