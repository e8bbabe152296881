"""Runs the demo: train, evaluate, serve, recommend, follow new events, end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from groundswell.cli.connection import connected
from groundswell.cli.demo.model import Model, make_model
from groundswell.cli.demo.scenes import Scenes
from groundswell.cli.demo.story import Story, check
from groundswell.cli.failures import CommandError
from groundswell.cli.suite import deployment, logs
from groundswell.cli.suite.launcher import Suite
from groundswell.cli.suite.state import State
from groundswell.client import GroundswellError
from groundswell.trainer.dataset.prepared import TEXT_VECTORS

_MARK = "demo.txt"
_LOG = "services.log"
"""Earlier releases left this file, and no mark."""


def run_demo(folder: Path, seed: int, *, full: bool = False) -> None:
    """Run every step; raise CommandError at the first one that fails."""
    story = Story(Console(highlight=False))
    _claim(folder)
    with State(folder / "state") as state:
        model = make_model(story, folder, seed, full=full)
        serve_scenes(story, state, model)
    story.chapter("Everything worked and has ended")
    story.console.print(
        f"To go on with it: groundswell up --bundles {model.bundles}, and in a second terminal: "
        f"groundswell recommend {model.prepared.user_ids[model.people[0]]}",
        soft_wrap=True,
    )


def _claim(folder: Path) -> None:
    """Mark a folder as the demo's, which empties what is in it: state, bundles, prepared data.

    Raises CommandError for a folder of something else.
    """
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file: choose another --dir")
    is_ours = (folder / _MARK).exists() or (folder / _LOG).exists()
    if folder.is_dir() and any(folder.iterdir()) and not is_ours:
        raise CommandError(
            f"{folder} holds other files than those of an earlier demo, and would be replaced: "
            "choose another --dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("`groundswell demo` replaces what is in here.\n", encoding="utf-8")


def serve_scenes(story: Story, state: State, model: Model) -> None:
    """Serve over an empty state, play the scenes, end the services, check that none is left."""
    state.clear()
    ports = deployment.free_ports()
    pids = _serve(story, state, model, ports)
    left = [pid for pid in pids if _exists(pid)]
    check(not left, f"processes {left} still run")
    taken = deployment.taken_ports(ports)
    check(not taken, f"ports are still taken: {taken}")


def _serve(story: Story, state: State, model: Model, ports: deployment.Ports) -> list[int]:
    """Serve while the scenes play; returns the ids of the processes."""
    story.chapter("The services, each a process of its own")
    services = deployment.embedded_services(
        model.bundles,
        state,
        ports,
        worker_threads=os.cpu_count() or 1,
        text_vectors=model.prepared.folder / TEXT_VECTORS,
    )
    with (
        (model.folder / _LOG).open("w", encoding="utf-8") as log,
        Suite(services, logs.to_file(log)) as suite,
    ):
        suite.wait_serving()
        for service in services:
            pid = suite.pids[service.name]
            story.console.print(f"{service.name:<8} {service.address}  SERVING  (process {pid})")
        pids = list(suite.pids.values())
        with _told_by(suite), connected(ports.targets, "profile") as client:
            Scenes(story, client, model).play()
        suite.raise_if_ended()
    return pids


@contextmanager
def _told_by(suite: Suite) -> Iterator[None]:
    """When a call fails because a service has ended, raise the error of the service instead."""
    try:
        yield
    except (GroundswellError, CommandError):
        suite.raise_if_ended()
        raise


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
