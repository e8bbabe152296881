"""Runs a program in two processes, as `torchrun` starts them, on the loopback interface alone."""

from pathlib import Path

from tests.support.processes import Process

TIMEOUT_S = 300.0
_ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo"}


class TwoProcesses(Process):
    """`torchrun --nproc-per-node 2 ARGUMENTS`; leaving the context ends it and both processes."""

    stop_timeout_s = 60.0

    def __init__(self, *arguments: str, folder: Path) -> None:
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        out, err = folder / "torchrun.out", folder / "torchrun.err"
        super().__init__([*launcher, *arguments], _ENVIRONMENT, out, err)

    def process_of(self, rank: int) -> int:
        """The id of one of the two processes."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        of_rank = f"\0RANK={rank}\0".encode()
        found = [
            int(child)
            for child in children.read_text().split()
            if of_rank in b"\0" + Path(f"/proc/{child}/environ").read_bytes()
        ]
        (process,) = found
        return process
