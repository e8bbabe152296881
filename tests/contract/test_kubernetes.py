"""The manifests for Kubernetes are valid, and name only what the code, the images and they have."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
import typer
import yaml  # type: ignore[import-untyped] # PyYAML ships no types

from groundswell.cli.app import app
from groundswell.profile_service.settings import DatabaseSettings
from groundswell.serving.settings import load_settings
from tests.contract.test_deploy import SETTINGS, bytes_of

ROOT = Path(__file__).parents[2]
VERSION = "1.34"
OVERLAYS = ("cpu", "gpu")
SECRET = {
    "secret": "s" * 32,
    "previous-secrets": "",
    "database-url": "postgresql+psycopg://groundswell:p@db/groundswell",
}
METRICS_PORT = 9464
Manifest = dict[str, Any]


def rendered(folder: Path) -> list[Manifest]:
    """Read a kustomization of resources, a namespace and JSON patches, which are all that is used.

    Every patch has to find what it changes.
    """
    made = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert made.keys() <= {"apiVersion", "kind", "namespace", "resources", "patches"}
    found: list[Manifest] = []
    for name in made["resources"]:
        path = (folder / name).resolve()
        found += rendered(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for patch in made.get("patches", ()):
        operations = jsonpatch.JsonPatch(yaml.safe_load((folder / patch["path"]).read_text()))
        targets = [n for n, one in enumerate(found) if _is_target(one, patch["target"])]
        assert targets, patch
        for n in targets:
            found[n] = operations.apply(found[n])
    return found


def _is_target(one: Manifest, target: dict[str, str]) -> bool:
    label, _, value = target.get("labelSelector", "").partition("=")
    return (
        one["kind"] == target["kind"]
        and target.get("name", one["metadata"]["name"]) == one["metadata"]["name"]
        and (not label or one["metadata"].get("labels", {}).get(label) == value)
    )


@cache
def manifests(overlay: str) -> list[Manifest]:
    return rendered(ROOT / "deploy/k8s/overlays" / overlay)


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests(overlay) if one["kind"] == kind}


def pods(overlay: str) -> dict[str, Manifest]:
    """The template of each pod, by the name of what makes it."""
    found = {}
    for kind in ("Deployment", "StatefulSet", "Job", "CronJob"):
        for name, one in of_kind(overlay, kind).items():
            spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
            found[name] = spec["template"]
    return found


def container(overlay: str, name: str) -> Manifest:
    [one] = pods(overlay)[name]["spec"]["containers"]
    found: Manifest = one
    return found


def environment(overlay: str, name: str) -> dict[str, str]:
    """The variables of a container, as the kubelet makes them of both kinds of source."""
    one = container(overlay, name)
    found: dict[str, str] = {}
    for source in one.get("envFrom", ()):
        found |= of_kind(overlay, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in one.get("env", ()):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            key = variable["valueFrom"]["secretKeyRef"]
            assert key["name"] == "groundswell"
            found[variable["name"]] = SECRET[key["key"]]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_has_the_form_that_kubernetes_takes(overlay: str) -> None:
    for one in manifests(overlay):
        kubernetes_validate.validate(one, VERSION, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests(overlay)]
    assert len(names) == len(set(names)) > 25


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("part", SETTINGS)
def test_the_settings_of_a_pod_are_those_of_its_process(
    overlay: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(overlay, part)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(SETTINGS[part])
    common = of_kind(overlay, "ConfigMap")["groundswell"]["data"]
    for name in given.keys() - common.keys():
        assert name.removeprefix("GROUNDSWELL_").lower() in type(settings).model_fields, name
    for name in common:
        fields = [s.model_fields for s in SETTINGS.values()]
        assert any(name.removeprefix("GROUNDSWELL_").lower() in one for one in fields), name
    ports = {one["name"]: one["containerPort"] for one in container(overlay, part)["ports"]}
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    assert settings.metrics_port == METRICS_PORT
    mounted = [one["mountPath"] for one in container(overlay, part)["volumeMounts"]]
    assert str(settings.bundles) in mounted
    for value in given.values():
        assert not value.startswith("/run/") or value.rpartition("/")[0] in mounted, value
    assert settings.allow_insecure is False


def test_what_outlives_the_database_and_the_process_lies_on_a_volume_that_stays() -> None:
    """Each profile service has its own, whose name stays; the rankers share one."""
    profile = of_kind("cpu", "StatefulSet")["profile"]["spec"]
    [own] = profile["volumeClaimTemplates"]
    [shared] = [one for one in pods("cpu")["ranker"]["spec"]["volumes"] if one["name"] == "state"]
    assert shared["persistentVolumeClaim"] == {"claimName": "withdrawn"}
    kept = {"profile": "GROUNDSWELL_ERASURES", "ranker": "GROUNDSWELL_WITHDRAWN_FILE"}
    for part, variable in kept.items():
        mounts = container("cpu", part)["volumeMounts"]
        [state] = [one for one in mounts if one["name"] == own["metadata"]["name"]]
        assert state == {
            "name": "state",
            "mountPath": environment("cpu", part)[variable].rpartition("/")[0],
        }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_addresses_lead_to_headless_services_and_these_to_pods(overlay: str) -> None:
    services = of_kind(overlay, "Service")
    urls = [value for part in SETTINGS for value in environment(overlay, part).values()]
    urls = [url for url in urls if url.startswith(("dns:///", "redis://"))]
    assert len(set(urls)) == 3
    for url in urls:
        name, _, port = url.partition("//")[2].strip("/").partition("/")[0].partition(":")
        [listed] = services[name]["spec"]["ports"]
        assert listed["port"] == int(port)
        assert services[name]["spec"]["clusterIP"] == "None"
    for name, service in services.items():
        [listed] = service["spec"]["ports"]
        labels = pods(overlay)[name]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        ports = {one["name"]: one["containerPort"] for one in container(overlay, name)["ports"]}
        assert ports[listed["targetPort"]] == listed["port"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_ports_that_are_there(overlay: str) -> None:
    for name in of_kind(overlay, "Deployment") | of_kind(overlay, "StatefulSet"):
        one = container(overlay, name)
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        probes = [value for key, value in one.items() if key.endswith("Probe")]
        assert len(probes) >= 2
        for probe in probes:
            if "exec" in probe:
                *command, address = probe["exec"]["command"]
                assert command == ["python", "-m", "groundswell.serving.health_probe"]
                assert address == f"localhost:{ports['grpc']}"
            else:
                assert probe["tcpSocket"]["port"] in ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_names_pods_finds_some(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for template in pods(overlay).values()]
    selectors = [
        one["spec"]["selector"]["matchLabels"]
        for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget")
        for one in of_kind(overlay, kind).values()
    ]
    allowed: dict[str, set[int]] = {}
    for policy in of_kind(overlay, "NetworkPolicy").values():
        selectors.append(policy["spec"]["podSelector"].get("matchLabels", {}))
        for rule in policy["spec"].get("ingress", ()):
            own = selectors[-1].get("app", "every")
            allowed.setdefault(own, set()).update(port["port"] for port in rule["ports"])
            selectors += [
                one["podSelector"]["matchLabels"]
                for one in rule["from"]
                if "podSelector" in one and "namespaceSelector" not in one
            ]
    for selector in selectors:
        assert any(selector.items() <= one.items() for one in labels), selector
    assert allowed.pop("every") == {METRICS_PORT}
    for name, numbers in allowed.items():
        listens = {port["containerPort"] for port in container(overlay, name)["ports"]}
        assert numbers == listens - {METRICS_PORT}
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler").values():
        scaled = of_kind(overlay, "Deployment")[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in scaled["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_may_more_than_it_needs_and_each_has_limits(overlay: str) -> None:
    for name, template in pods(overlay).items():
        spec, one = template["spec"], container(overlay, name)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= one["resources"]["limits"].keys()
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        own = of_kind(overlay, "StatefulSet").get(name, {"spec": {}})["spec"]
        volumes |= {claim["metadata"]["name"] for claim in own.get("volumeClaimTemplates", ())}
        assert volumes == {mount["name"] for mount in one.get("volumeMounts", ())}
        for volume in spec.get("volumes", ()):
            assert volume.keys() & {"secret", "emptyDir", "persistentVolumeClaim"}
            claim = volume.get("persistentVolumeClaim", {"claimName": "bundles"})["claimName"]
            assert claim in of_kind(overlay, "PersistentVolumeClaim")


def test_memory_limits_are_those_of_compose() -> None:
    compose = (ROOT / "deploy/compose.yaml").read_text()
    for part in SETTINGS:
        size = container("cpu", part)["resources"]["limits"]["memory"]
        default = compose.partition(f"${{GROUNDSWELL_{part.upper()}_MEMORY:-")[2].partition("}")[0]
        assert bytes_of(size.removesuffix("i").lower()) == bytes_of(default)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_built_by_the_dockerfile_and_jobs_run_commands_that_exist(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    for name in pods(overlay):
        image, _, _ = container(overlay, name)["image"].partition(":")
        if name != "valkey":
            assert image.startswith("groundswell-")
            assert image.removeprefix("groundswell-") in dockerfile.partition("esac")[0]
    assert container(overlay, "migrate")["command"][1:3] == ["-m", "groundswell.profile_service"]
    rebuild = container(overlay, "rebuild")["command"]
    steps = container(overlay, "train")["command"][2].split(" && ")
    for command in [rebuild, *(step.split() for step in steps)]:
        assert command[0] == "groundswell"
        _check(typer.main.get_command(app), command[1:])
    for name in ("migrate", "rebuild"):
        for variable, value in environment(overlay, name).items():
            monkeypatch.setenv(variable, value)
        assert load_settings(DatabaseSettings).database_url == SECRET["database-url"]


def _check(command: Any, arguments: list[str]) -> None:
    """Compare the options of a command line with those that the command has and needs."""
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    given = {argument for argument in arguments if argument.startswith("--")}
    assert len(arguments) == 2 * len(given)
    assert given <= {option for one in command.params for option in one.opts}
    assert {one.opts[0] for one in command.params if one.required} <= given
