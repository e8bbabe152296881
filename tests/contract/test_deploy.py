"""The deployment files say only what is true: real settings, real paths, no secret inside."""

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # PyYAML ships no types

from groundswell.profile_service.settings import ProfileSettings, WorkerSettings
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.settings import ServingSettings, load_settings
from groundswell.session_service.settings import SessionSettings

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, type[ServingSettings]] = {
    "profile": ProfileSettings,
    "worker": WorkerSettings,
    "session": SessionSettings,
    "ranker": RankerSettings,
}
SERVERS = ("profile", "session", "ranker")
STORES = ("postgres", "valkey")
GIVEN = {
    "GROUNDSWELL_SECRET": "s" * 32,
    "GROUNDSWELL_DB_PASSWORD": "p" * 32,
    "GROUNDSWELL_BUNDLES_DIR": "/srv/bundles",
}
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+):\?[^}]*\}")
WITH_DEFAULT = re.compile(r"(?<!\$)\$\{(\w+):-([^}]*)\}")


def compose() -> Any:
    """The file with the variables that it asks for filled in, as compose does."""
    text = (ROOT / "deploy/compose.yaml").read_text()
    text = VARIABLE.sub(lambda match: GIVEN[match[1]], text)
    return yaml.safe_load(WITH_DEFAULT.sub(lambda match: match[2], text))


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = compose()["services"][service]["environment"]
    return found


def dockerfile() -> str:
    return (ROOT / "deploy/Dockerfile").read_text()


@pytest.mark.parametrize("service", SETTINGS)
def test_the_environment_of_a_container_is_accepted_by_its_settings(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GROUNDSWELL_")]:
        monkeypatch.delenv(name)
    for name, value in environment(service).items():
        assert isinstance(value, str), f"{name} must be quoted"
        monkeypatch.setenv(name, value)
    settings = load_settings(SETTINGS[service])
    for name in environment(service):
        assert name.removeprefix("GROUNDSWELL_").lower() in type(settings).model_fields, name
    assert str(settings.bundles) == "/bundles"
    assert settings.secret.get_secret_value() == GIVEN["GROUNDSWELL_SECRET"]


def test_all_containers_share_the_secret_and_it_comes_from_outside() -> None:
    assert {environment(service)["GROUNDSWELL_SECRET"] for service in SETTINGS} == {"s" * 32}
    text = (ROOT / "deploy/compose.yaml").read_text()
    for line in text.splitlines():
        if re.search(r"(SECRET|PASSWORD):", line.partition("${")[0]):
            assert VARIABLE.search(line), line


@pytest.mark.parametrize("service", ["session", "ranker"])
def test_the_addresses_of_others_are_those_where_they_listen(service: str) -> None:
    addresses = {
        name: value for name, value in environment(service).items() if name.endswith("_ADDRESS")
    }
    assert addresses
    for name, address in addresses.items():
        host, _, port = address.partition(":")
        assert name == f"GROUNDSWELL_{host.upper()}_ADDRESS"
        assert environment(host)["GROUNDSWELL_PORT"] == port


@pytest.mark.parametrize("service", SERVERS)
def test_a_server_is_published_on_loopback_alone_at_the_port_of_its_default(
    service: str,
) -> None:
    default = SETTINGS[service].model_fields["port"].default
    assert environment(service)["GROUNDSWELL_PORT"] == str(default)
    assert compose()["services"][service]["ports"] == [f"127.0.0.1:{default}:{default}"]


def test_plain_calls_are_allowed_only_where_all_share_the_internal_network() -> None:
    whole = compose()
    assert whole["networks"]["inside"]["internal"] is True
    for name, service in whole["services"].items():
        assert "inside" in service["networks"], name
    for store in STORES:
        assert whole["services"][store]["networks"] == ["inside"]
        assert "ports" not in whole["services"][store]


@pytest.mark.parametrize("service", [*SETTINGS, *STORES])
def test_every_container_has_a_health_check(service: str) -> None:
    assert compose()["services"][service]["healthcheck"]["test"]


def test_the_probe_of_the_health_checks_is_a_module_that_exists() -> None:
    modules = set(re.findall(r"-m (groundswell\S+health\S+)", dockerfile()))
    for service in SETTINGS:
        command = compose()["services"][service]["healthcheck"]["test"][1]
        modules |= set(re.findall(r"-m (groundswell\S+)", command))
    assert modules == {"groundswell.serving.health_probe"}
    assert importlib.util.find_spec("groundswell.serving.health_probe") is not None


@pytest.mark.parametrize("service", SERVERS)
def test_the_module_that_an_image_starts_can_be_started(service: str) -> None:
    assert "groundswell.${SERVICE}_service" in dockerfile()
    assert importlib.util.find_spec(f"groundswell.{service}_service.__main__") is not None


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_installs_an_extra_that_exists(service: str) -> None:
    assert '".[${SERVICE},traces]"' in dockerfile()
    assert '--require-hashes -r "requirements/${SERVICE}.lock"' in dockerfile()
    assert (ROOT / f"requirements/{service}.lock").exists()
    for extra in (service, "traces"):
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert compose()["services"][service]["build"]["args"]["SERVICE"] == service


def test_an_image_copies_what_exists_and_is_not_kept_from_it() -> None:
    ignore = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in dockerfile().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert "pyproject.toml" in copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore


def bytes_of(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])", size).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 2**20, "g": 2**30}[unit]


@pytest.mark.parametrize("service", [*SETTINGS, *STORES])
def test_every_container_has_a_memory_limit_that_can_be_set(service: str) -> None:
    """At least twice what was measured, so that a second bundle fits beside the first."""
    measured_mib = {"profile": 486, "worker": 561, "session": 196, "ranker": 255, "postgres": 256}
    # Valkey drops windows before it takes more than that.
    measured_mib["valkey"] = 128
    limit = bytes_of(compose()["services"][service]["mem_limit"])
    assert limit >= 2 * measured_mib[service] * 2**20
    text = (ROOT / "deploy/compose.yaml").read_text()
    assert f"${{GROUNDSWELL_{service.upper()}_MEMORY:-" in text


def test_every_image_can_be_pinned_by_digest() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text()
    defaults = dict(WITH_DEFAULT.findall(text))
    python = defaults["GROUNDSWELL_PYTHON_IMAGE"]
    for service in SETTINGS:
        assert compose()["services"][service]["build"]["args"]["PYTHON_IMAGE"] == python
    stores = {name: defaults[f"GROUNDSWELL_{name.upper()}_IMAGE"] for name in STORES}
    for name, image in stores.items():
        assert compose()["services"][name]["image"] == image
    assert f"ARG PYTHON_IMAGE={python}\n" in dockerfile()
    assert set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    # Both ways to name a digest are in the comments, for whoever has to do it.
    for image in (python, *stores.values()):
        assert f"{image}@sha256:" in text


@pytest.mark.parametrize("service", SETTINGS)
def test_no_container_tells_strangers_what_can_be_called(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)
    assert load_settings(SETTINGS[service]).reflection is False


def test_an_image_does_not_run_as_root() -> None:
    final = dockerfile().rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert int(user) > 0


@pytest.mark.parametrize(
    ("service", "variable"),
    [("profile", "GROUNDSWELL_ERASURES"), ("ranker", "GROUNDSWELL_WITHDRAWN_FILE")],
)
def test_what_outlives_a_container_lies_on_a_volume_that_its_user_may_write(
    service: str, variable: str
) -> None:
    folder = environment(service)[variable].rpartition("/")[0]
    assert f"{service}:{folder}" in compose()["services"][service]["volumes"]
    assert service in compose()["volumes"]
    assert f"install -d -o groundswell -m 700 {folder}\n" in dockerfile()
