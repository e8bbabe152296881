"""Real services are traced as one whole, and have what the dashboard and the alerts ask for."""

import asyncio
import json
import re
import secrets
import shutil
import urllib.request
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import grpc
import promql_parser as promql
import pytest
import yaml  # type: ignore[import-untyped] # PyYAML ships no types
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from prometheus_client.parser import text_string_to_metric_families

from groundswell.client import event
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.runtime.erasure_follower import ErasureFollower
from groundswell.serving.channels import open_channel
from groundswell.serving.health import Health
from groundswell.serving.health_probe import NOT_SERVING, health
from groundswell.serving.pseudonym import Pseudonymizer
from tests.support.bundles import ITEMS, serve, tiny_bundle
from tests.support.collector import Collector, Received, collector, exporting
from tests.support.postgres import Postgres
from tests.support.processes import ROOT, SECRET, free_port
from tests.support.suite import Suite
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

PARTS = ("profile", "worker", "session", "ranker")
METRICS = {name: free_port() for name in PARTS}
OBSERVABILITY = ROOT / "deploy/observability"
OF_PROMETHEUS = {"job", "instance", "part", "le"}
"""The labels that a scrape adds, and that of the bounds of a histogram."""
Samples = dict[str, list[dict[str, str]]]
USER = "a user whose id no span may hold"


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def suite(
    tmp_path_factory: pytest.TempPathFactory,
    traces: Collector,
    server: Postgres,
    valkey: Valkey,
) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("observed")
    settings = {
        name: {
            **exporting(traces),
            "GROUNDSWELL_LOG_LEVEL": "DEBUG",
            "GROUNDSWELL_METRICS_PORT": str(port),
        }
        for name, port in METRICS.items()
    }
    settings["profile"]["GROUNDSWELL_WORKER"] = "0"
    settings["session"]["GROUNDSWELL_WINDOWS_URL"] = valkey.url
    url = server.new_database()
    bundles = tiny_bundle(folder / "bundles", canary=True).parent
    with Suite(folder, bundles, PARTS, database_url=url, settings=settings) as running:
        running.fill()
        running.client.record_events([event(USER, ITEMS[0][0], "click", event_id="e")])
        eventually(lambda: not running.client.recommend(USER).degradations, 60)
        yield running


def recommend(suite: Suite, *, sampled: bool = True) -> str:
    """Recommend as a traced caller does, and return the id of the trace."""
    trace_id = secrets.token_hex(16)
    header = f"00-{trace_id}-{secrets.token_hex(8)}-{int(sampled):02}"
    with grpc.insecure_channel(suite.targets.ranker) as channel:
        RankerServiceStub(channel).Recommend(
            RecommendRequest(user_id=USER, filter="price < 100"),
            metadata=(("traceparent", header),),
            timeout=10,
        )
    return trace_id


def below(parent: Received, spans: list[Received]) -> set[tuple[str, str]]:
    found = set()
    for one in spans:
        if one.parent_id == parent.span_id:
            found |= {(one.service, one.name), *below(one, spans)}
    return found


def test_one_trace_has_the_caller_all_services_and_the_stages(
    suite: Suite, traces: Collector
) -> None:
    trace_id = recommend(suite)
    session = "groundswell.session.v1.SessionService/EncodeSession"
    profile = "groundswell.profile.v1.ProfileService/GetProfile"
    ranker = "groundswell.ranker.v1.RankerService/Recommend"
    wanted = {
        ("groundswell-ranker", "gather"),
        ("groundswell-ranker", session),
        ("groundswell-session", session),
        ("groundswell-ranker", profile),
        ("groundswell-profile", profile),
        *(
            ("groundswell-ranker", stage)
            for stage in ("filter", "rank", "fuse", "neighbours", "retrieve", "interests")
        ),
        ("groundswell-ranker", "explain"),
    }

    def found() -> set[tuple[str, str]]:
        spans = traces.spans(trace_id)
        roots = [one for one in spans if one.name == ranker]
        return below(roots[0], spans) if roots else set()

    eventually(lambda: found() >= wanted, 15, lambda: f"{wanted - found()} of {found()}")
    by_name = {(one.service, one.name): one for one in traces.spans(trace_id)}
    assert by_name["groundswell-ranker", "rank"].attributes["batch.size"] == 1
    gather = by_name["groundswell-ranker", "gather"].span_id
    for called in (session, profile):
        assert by_name["groundswell-ranker", called].parent_id == gather
        assert by_name["groundswell-ranker", called].attributes["rpc.grpc.status_code"] == 0


def test_a_call_that_its_caller_does_not_trace_is_traced_nowhere(
    suite: Suite, traces: Collector
) -> None:
    left_out = recommend(suite, sampled=False)
    traced = recommend(suite)
    services = {"groundswell-ranker", "groundswell-session", "groundswell-profile"}
    eventually(lambda: {one.service for one in traces.spans(traced)} == services)
    assert traces.spans(left_out) == []


@pytest.mark.usefixtures("suite")
def test_the_worker_traces_each_batch(traces: Collector) -> None:
    def works() -> list[Received]:
        return [one for one in traces.spans() if one.name.startswith("worker stale_")]

    eventually(works)
    [first, *_] = works()
    assert first.attributes["num_subjects"] >= 1
    names = {name for _, name in below(first, traces.spans(first.trace_id))}
    assert {"read", "encode", "write"} <= names


def test_log_lines_name_the_trace_and_nothing_sent_names_the_user(
    suite: Suite, traces: Collector
) -> None:
    trace_id = recommend(suite)
    for name in ("profile", "session", "ranker"):
        lines = [json.loads(line) for line in suite.processes[name].log().splitlines()]
        assert any(line.get("trace_id") == trace_id for line in lines), name
        assert USER not in suite.processes[name].log()
    assert USER not in str(traces.spans())


class ToldHealth(Health):
    """Health that says when it was told whether all fails."""

    def __init__(self) -> None:
        super().__init__()
        self.told: asyncio.Queue[bool] = asyncio.Queue()

    async def report_all(self, *, failing: bool) -> None:
        await super().report_all(failing=failing)
        self.told.put_nowait(failing)


async def test_a_process_with_other_secrets_than_the_profile_service_is_not_ready(
    suite: Suite,
) -> None:
    its = ToldHealth()
    await its.ready()

    async def drop(_: Collection[bytes]) -> None:
        return

    # Of several secrets the profile service must have all.
    cases = {("another secret of a service",): True, (SECRET,): False, (SECRET, "b" * 16): True}
    async with open_channel(suite.targets.profile) as channel:
        for given, differs in cases.items():
            follower = ErasureFollower(channel, drop, Pseudonymizer(*given).checks, its)
            await follower.start()
            assert await asyncio.wait_for(its.told.get(), 60) is differs
            answer = await its.servicer.Check(HealthCheckRequest(), None)
            assert (answer.status == HealthCheckResponse.NOT_SERVING) is differs
            await follower.close()


def samples(parts: Sequence[str]) -> Samples:
    """The labels of all samples of some processes, by name."""
    found: Samples = defaultdict(list)
    for part in parts:
        url = f"http://127.0.0.1:{METRICS[part]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                for one in family.samples:
                    found[one.name].append(one.labels)
    return found


def expressions() -> Iterator[str]:
    """All that the alerts and the dashboard ask for."""
    for rule in yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())["groups"][0]["rules"]:
        yield rule["expr"]
    dashboard = json.loads((OBSERVABILITY / "grafana/groundswell.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")


def lacking(expression: str, found: Samples) -> set[str]:
    """What an expression names that no sample has. Raises ValueError where it is no PromQL."""
    missing: set[str] = set()
    labels: set[str] = set()
    grouped: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, promql.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql.VectorSelector) and node.name != "up":
            has = found.get(node.name or "", [])
            for matcher in node.matchers.matchers:
                is_there = any(
                    matcher.name in one
                    and (matcher.op != promql.MatchOp.Equal or one[matcher.name] == matcher.value)
                    for one in has
                )
                missing.update(() if is_there else (f"{node.name}{{{matcher.name}}}",))
            missing.update(() if has else (str(node.name),))
            labels.update(*has)
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        return True

    promql.walk(promql.parse(expression), visit)
    return missing | (grouped - labels - OF_PROMETHEUS)


def test_all_that_the_dashboard_and_the_alerts_name_is_there(suite: Suite) -> None:
    recommend(suite)
    [bundle] = [path for path in suite.bundles.iterdir() if path.is_dir()]
    broken = suite.bundles / bundle.name[::-1]  # its name is not the hash of its manifest
    shutil.copytree(bundle, broken)
    serve(broken, suite.bundles)
    of_session = samples(["session"])
    suite.session.kill()
    for _ in range(8):
        recommend(suite)
    others = [part for part in PARTS if part != "session"]
    eventually(lambda: "groundswell_bundles_refused_total" in samples(others))
    found = samples(others)
    for name, labels in of_session.items():
        found[name] += labels
    asked = {expression: lacking(expression, found) for expression in expressions()}
    assert len(asked) > 50
    assert {expression: names for expression, names in asked.items() if names} == {}
    waiting = {"list": "stale_users", "state": "waiting"}
    assert waiting in found["groundswell_stale_subjects"]  # what the workers of k8s scale by


def test_a_service_with_another_secret_says_so_and_is_never_ready(suite: Suite) -> None:
    suite.session.kill()
    suite.session.start({"GROUNDSWELL_SECRET": "another secret of a service"})

    def has_told() -> bool:
        newest = suite.session.log().rpartition('"event": "settings"')[2]
        return '"event": "serving"' in newest and '"event": "secret_differs"' in newest

    eventually(has_told, 60, suite.session.log)
    assert health(suite.targets.session) == NOT_SERVING


def test_each_alert_has_a_section_in_the_runbook_and_each_metric_a_row() -> None:
    text = (OBSERVABILITY / "alerts.yaml").read_text()
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in rules] == sections
    for rule in rules:
        url = rule["annotations"]["runbook_url"]
        assert url == f"docs/runbook.md#{rule['alert'].lower()}"
    documented = (ROOT / "docs/operations.md").read_text()
    asked = set(re.findall(r"\b(?:groundswell|grpc|process)_\w+", " ".join(expressions())))
    for name in asked - {"grpc_code", "grpc_method", "grpc_service"}:
        assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in documented, name
