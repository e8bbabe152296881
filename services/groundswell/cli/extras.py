"""Names the extra of the package that brings a missing module."""

import sys

_TRAINS = "train"
_SERVES = "cli,profile,session,ranker"
_CALLS = "cli"
_EXTRAS = {
    "data": _TRAINS,
    "prepare": _TRAINS,
    "train": _TRAINS,
    "evaluate": _TRAINS,
    "grid": _TRAINS,
    "text-probe": _TRAINS,
    "demo": _TRAINS,
    "up": _SERVES,
    "console": "console",
    "db": "cli,profile",
    "profiles": "cli,profile",
}
_OF_MODULES = {"ray": "ray"}
"""The extra of a package that only one option of a command needs."""
_SERVICE_EXTRAS = ("profile", "session", "ranker")
_OWN = "groundswell"


def which_extra(error: ModuleNotFoundError, arguments: list[str]) -> str | None:
    """The line for a command that cannot run because a package is not installed.

    None when the module is the suite's own: that is a fault of the suite.
    """
    command = next((a for a in arguments if a in _EXTRAS), "")
    return _line(error, f"groundswell {command}".strip(), _EXTRAS.get(command, _CALLS))


def which_extra_of_service(error: ModuleNotFoundError, module: str) -> str | None:
    """The same for `python -m groundswell.NAME_service`."""
    name = module.rpartition(".")[2].removesuffix("_service")
    return _line(error, f"the {name} service", name if name in _SERVICE_EXTRAS else _SERVES)


def _line(error: ModuleNotFoundError, what: str, extra: str) -> str | None:
    module = (error.name or "").partition(".")[0]
    if module in ("", _OWN) or module in sys.stdlib_module_names:
        return None
    extra = _OF_MODULES.get(module, extra)
    return (
        f"{what} needs the package {module}, which is not installed; run: "
        f"pip install 'groundswell[{extra}]'"
    )
