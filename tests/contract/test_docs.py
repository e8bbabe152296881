"""The pages name real files, real settings with their defaults, and real metrics."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

from pydantic_settings import BaseSettings

from groundswell.profile_service.settings import ProfileSettings
from groundswell.ranker_service.settings import RankerSettings
from groundswell.session_service.settings import SessionSettings

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), ROOT / "protos/README.md", *(ROOT / "docs").rglob("*.md")]
SETTINGS: dict[str, type[BaseSettings]] = {
    "every one": SessionSettings,
    "profile": ProfileSettings,
    "ranker": RankerSettings,
    "session": SessionSettings,
}
UNITS = {"": 1, " MiB": 1024 * 1024}


def rows_of_limits() -> list[tuple[str, str, int]]:
    """Return (process, setting, default) for each setting with a value in the tables."""
    rows = []
    for line in (ROOT / "docs/limits.md").read_text().splitlines():
        process = line.strip("|").split("|")[0].strip()
        for name, number, unit in re.findall(r"`(max_\w+)`, ([\d,]*\d)( MiB|)", line):
            rows.append((process, name, int(number.replace(",", "")) * UNITS[unit]))
    return rows


def test_the_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in pages if f"(docs/{name})" not in readme] == []


def test_the_page_on_limits_has_the_defaults_of_the_settings() -> None:
    rows = rows_of_limits()
    assert len(rows) > 20
    assert [
        (process, name, value)
        for process, name, value in rows
        if SETTINGS[process].model_fields[name].default != value
    ] == []


def test_every_metric_of_the_pages_is_one_of_the_code() -> None:
    sources = (path for part in ("shared", "services") for path in (ROOT / part).rglob("*.py"))
    code = "\n".join(path.read_text() for path in sources)
    pages = "\n".join(page.read_text() for page in PAGES)
    named = {name.removesuffix("_total") for name in re.findall(r"`groundswell_(\w+)`", pages)}
    assert named
    assert [name for name in sorted(named) if f'"{name}"' not in code] == []


def test_programs_in_pages_are_parts_of_the_files_that_were_run() -> None:
    quoted = [
        (page.name, path, block)
        for page in (ROOT / "docs/clients").glob("*.md")
        for path, block in re.findall(
            r"(?ms)^From \[(\S+)\]\(\S+\):\n\n```\w+\n(.*?)^```$", page.read_text()
        )
    ]
    assert len(quoted) > 5
    assert [q[:2] for q in quoted if q[2].rstrip() not in (ROOT / q[1]).read_text()] == []


def test_the_table_of_deadlines_and_retries_is_that_of_the_service_config() -> None:
    config = json.loads((ROOT / "clients/service_config.json").read_text())
    table = (ROOT / "docs/clients/README.md").read_text()
    rows = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \| (\d+) s \| (\d) \|$", table, re.MULTILINE)
    told = {name: (f"{s}s", int(n)) for names, s, n in rows for name in names.split(", ")}
    its = {
        name["method"]: (each["timeout"], each["retryPolicy"]["maxAttempts"])
        for each in config["methodConfig"]
        for name in each["name"]
        if name["method"] in told and "timeout" in each
    }
    assert len(told) > 15
    assert told == its


def test_both_clients_have_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    node = json.loads((ROOT / "clients/typescript/package.json").read_text())
    assert node["version"] == project["version"] == version("groundswell")
