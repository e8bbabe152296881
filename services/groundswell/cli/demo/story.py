"""The console of the demo, its checks, and its waiting for the services."""

import time
from collections.abc import Callable

from rich.console import Console

from groundswell.cli.display.progress import progress_bar
from groundswell.cli.failures import CommandError
from groundswell.client import GroundswellClient, GroundswellError

_CATCH_UP_S = 30.0


class Story:
    """A console, with chapters that say how much time has passed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    def chapter(self, title: str) -> None:
        """Begin another part."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self.console.rule(f"{title}  ·  {minutes}:{seconds:02d}", style="dim")


def check(holds: bool, otherwise: str) -> None:
    """Raise CommandError saying what went wrong, unless `holds`."""
    if not holds:
        raise CommandError(f"the demo failed: {otherwise}")


def wait_encoded(client: GroundswellClient, console: Console) -> None:
    """Wait until the encoder has covered every user and item that is stored now."""
    most = left = 0
    with progress_bar(console, "profiles") as update:
        for answer in client.refresh_profiles():
            left = answer.num_users_left + answer.num_items_left
            most = max(most, left)
            update(most - left, most)
    check(left == 0, f"{left} users and items still wait for the encoder")


def until(works: Callable[[], object], what: str) -> None:
    """Try a call until the services have caught up with what it asks for."""
    deadline = time.monotonic() + _CATCH_UP_S
    while True:
        try:
            works()
        except GroundswellError as error:
            check(time.monotonic() < deadline, f"not after {_CATCH_UP_S:.0f} s: {what} ({error})")
            time.sleep(0.1)
        else:
            return
