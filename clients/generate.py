"""Generates clients as protos/buf.gen.yaml says, with plugins of this machine.

Usage: python clients/generate.py LANGUAGE OUT, where LANGUAGE is typescript, go, java or cpp.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from google.rpc import status_pb2

ROOT = Path(__file__).resolve().parents[1]
LOCAL: dict[str, dict[str, Any]] = {
    "bufbuild/es": {"local": ["node", "clients/typescript/node_modules/.bin/protoc-gen-es"]},
    "protocolbuffers/go": {"local": "protoc-gen-go"},
    "grpc/go": {"local": "protoc-gen-go-grpc"},
    "protocolbuffers/java": {"protoc_builtin": "java"},
    "grpc/java": {"local": "grpc_java_plugin"},
    "protocolbuffers/cpp": {"protoc_builtin": "cpp"},
    "grpc/cpp": {"local": "grpc_cpp_plugin"},
}
# These have no library with google.rpc; that of Debian for Java is older than ErrorInfo.
WITHOUT_GOOGLE_RPC = ("cpp", "java", "typescript")


def generate(language: str, out: Path) -> None:
    """Write the code of a language into the folder `out`, which is emptied before."""
    template = yaml.safe_load((ROOT / "protos/buf.gen.yaml").read_text(encoding="utf-8"))
    template["plugins"] = [
        {**LOCAL[each.pop("remote").removeprefix("buf.build/")], **each, "out": str(out)}
        for each in template["plugins"]
        if each["out"] == f"gen/{language}"
    ]
    template["inputs"] = [{"directory": str(ROOT / "protos")}]
    binaries = str(Path(sys.executable).parent)
    with TemporaryDirectory() as folder:
        if language in WITHOUT_GOOGLE_RPC:
            copy_google_rpc(Path(folder))
            template["inputs"].append({"directory": folder})
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(
            [f"{binaries}/buf", "generate", "--template", json.dumps(template)],
            env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"},
            check=True,
            cwd=ROOT,
        )


def copy_google_rpc(folder: Path) -> None:
    """Copy the protos of google.rpc out of their package of PyPI."""
    target = folder / "google/rpc"
    target.mkdir(parents=True)
    for name in ("error_details.proto", "status.proto"):
        shutil.copy(Path(status_pb2.__file__).with_name(name), target)


if __name__ == "__main__":
    generate(sys.argv[1], Path(sys.argv[2]).resolve())
