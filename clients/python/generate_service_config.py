"""Writes clients/service_config*.json: the Python client's retries and deadlines, for others.

`make client` runs it; with --check it only compares.
"""

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool

from groundswell.client.channels import Deadlines, service_config

HERE = Path(__file__).parent
AIO = HERE / "groundswell/client/aio"
WITH_DEADLINES = HERE.parent / "service_config.json"
# gRPC's core, which C++, Python, Ruby and PHP use, ends calls a second or more before the timeout
# of a service config (grpc#34547).
WITHOUT = HERE.parent / "service_config_without_deadlines.json"
# self._call(self._texts.EncodeTexts, request, timeout, self._deadlines.bulk_s)
CALL = re.compile(r"self\S+\(self\.(_\w+)\S*\.(\w+), .*, self\._deadlines\.(\w+)\)")


def deadlines() -> dict[tuple[str, str], str]:
    """The deadline that the aio client gives to each (service, method), such as "2s"."""
    found = {}
    for path in sorted(AIO.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        services = dict(_stubs(tree))
        for node in ast.walk(tree):
            called = CALL.fullmatch(ast.unparse(node)) if isinstance(node, ast.Call) else None
            if called:
                stub, method, kind = called.groups()
                found[services[stub], method] = f"{getattr(Deadlines, kind):g}s"
    return found


def _stubs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The attribute of each stub, and the full name of its service."""
    packages = {
        alias.name: node.module.rpartition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for name, stub in re.findall(r"self\.(_\w+) = (?:\{name: )?(\w+)Stub\(", ast.unparse(tree)):
        yield name, f"{packages[stub + 'Stub']}.{stub}"


def with_deadlines() -> dict[str, Any]:
    """The service config of the Python client, where each method has its deadline too."""
    config = service_config()
    policies = {
        (name["service"], name["method"]): each["retryPolicy"]
        for each in config.pop("methodConfig")
        for name in each["name"]
    }
    limits = deadlines()
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for service, method in sorted(policies.keys() | limits.keys()):
        assert method in descriptor_pool.Default().FindServiceByName(service).methods_by_name
        shared = {
            "timeout": limits.get((service, method)),
            "retryPolicy": policies.get((service, method)),
        }
        groups[json.dumps({key: value for key, value in shared.items() if value})].append(
            {"service": service, "method": method}
        )
    methods = [{"name": names, **json.loads(shared)} for shared, names in groups.items()]
    return {**config, "methodConfig": methods}


def main() -> int:
    """Write the files, or with --check name those that differ."""
    differ = []
    for target, config in ((WITH_DEADLINES, with_deadlines()), (WITHOUT, service_config())):
        text = json.dumps(config, indent=2) + "\n"
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif text != target.read_text(encoding="utf-8"):
            differ.append(target.name)
    sys.stderr.writelines(f"clients/{name} differs; run make client\n" for name in differ)
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
