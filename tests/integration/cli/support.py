"""Running services that commands are called against."""

import subprocess

from tests.support.cli import call
from tests.support.suite import Suite


class Services(Suite):
    """The three services over a tiny bundle."""

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command against them, in this process."""
        return call(self.targets, *arguments)
