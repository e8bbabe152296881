"""Generates the sync client from the aio one: `make client`; with --check only compares them."""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "groundswell/client"
AIO, SYNC = PACKAGE / "aio", PACKAGE / "sync"
HEADER = "# Generated from aio/{name} by `make client`: change that file.\n"
RULES = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit|iter)__", r"__\1__"),
    (r"\bgrpc\.aio\.AioRpcError\b", "grpc.RpcError"),
    (r"\bgrpc\.aio\.UsageError\b", "ValueError"),
    (r"\bgrpc\.aio\.", "grpc."),
    (r"\bclient\.aio\b", "client.sync"),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_(?=event_batches)", ""),
    (r"\bopen_aio_channel\b", "open_channel"),
    (r"\bAnyEvents\b", "Events"),
    (r"\baclosing\b", "closing"),
    (r"\basyncio\b", "time"),
    (r"\baio client\b", "sync client"),
    ("for code that runs in an event loop", "for code without an event loop"),
    ("Make it inside the event loop that uses it", "It is safe to use from many threads"),
    (" The sync client is generated from it.", ""),
)


def generated(name: str) -> str:
    """The text of a module of the sync client."""
    text = HEADER.format(name=name) + (AIO / name).read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    target = str(SYNC / name)
    text = _ruff("check", "--select", "I", "--fix", "--quiet", text=text, target=target)
    return _ruff("format", "--quiet", text=text, target=target)


def _ruff(*command: str, text: str, target: str) -> str:
    arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", target, "-"]
    done = subprocess.run(arguments, input=text, capture_output=True, encoding="utf-8", check=True)
    return done.stdout


def main() -> int:
    """Write the modules, or with --check name those that differ."""
    wanted = {path.name: generated(path.name) for path in sorted(AIO.glob("*.py"))}
    if "--check" not in sys.argv:
        SYNC.mkdir(exist_ok=True)
        for name, text in wanted.items():
            (SYNC / name).write_text(text, encoding="utf-8")
    found = {path.name: path.read_text(encoding="utf-8") for path in SYNC.glob("*.py")}
    differ = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if differ:
        sys.stderr.write(
            f"{SYNC} differs from what aio gives: {', '.join(differ)}; run make client\n"
        )
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
