"""The door of all three services: who gets in, what is written of it, and what is replaced."""

import asyncio
import json
import signal
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from groundswell.cli.certificates import LOCAL_NAMES, make_certificates
from groundswell.cli.signing_keys import drop_public_key, make_signing_key
from groundswell.cli.suite.door import local_door
from groundswell.client import GroundswellError, event
from groundswell.serving.pseudonym import Pseudonymizer
from tests.contract.test_access import methods
from tests.support.bad_tokens import NAMES, tokens_of
from tests.support.behind import Behind, Load, certificate_of, outcome, replace
from tests.support.processes import SECRET, free_port
from tests.support.suite import Suite


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("behind")
    door = local_door(folder / "door")
    older = folder / "older.json"
    make_signing_key(older, door.keys)
    port = free_port()
    own = {"GROUNDSWELL_MAX_CONNECTION_AGE_S": "0.5", "GROUNDSWELL_DRAIN_WAIT_S": "1"}
    metrics = {
        "GROUNDSWELL_METRICS_PORT": str(port),
        "GROUNDSWELL_AUDIT_LOG": str(folder / "audit.log"),
    }
    settings = {"profile": own, "session": own, "ranker": own | metrics}
    with Suite(folder, bundles, settings=settings, door=door) as suite:
        suite.fill()
        yield Behind(suite, door, older, port)


# --- who gets in


def served_by(method: MethodDescriptor) -> tuple[str, ...]:
    area = method.full_name.split(".")[1]
    return ("profile", "session", "ranker") if area == "common" else (area,)


def kind_of(method: MethodDescriptor) -> str:
    words = {False: "unary", True: "stream"}
    return f"{words[method.client_streaming]}_{words[method.server_streaming]}"


async def test_every_method_lets_in_exactly_whom_its_contract_names(behind: Behind) -> None:
    from groundswell.common.v1 import access_pb2

    channels = {name: behind.channel(name) for name in behind.suite.addresses}
    kinds = {role: tokens_of(role, behind.door.signing_key, behind.older) for role in NAMES}
    wrong, tried, passed = [], 0, 0

    async def check(name: str, method: MethodDescriptor, role: str) -> None:
        nonlocal tried, passed
        roles = method.GetOptions().Extensions[access_pb2.access].roles
        may = access_pb2.Role.Value(f"ROLE_{role.upper()}") in roles
        path = f"/{method.containing_service.full_name}/{method.name}"
        for kind, (token, refusal) in kinds[role].items():
            expected = refusal or ("" if may else "ROLE_MISSING")
            found = await outcome(channels[name], path, token, kind_of(method))
            tried, passed = tried + 1, passed + (found == "")
            if found != expected:
                wrong.append((path, name, role, kind, expected, found))

    for method in methods():
        for name in served_by(method):
            await asyncio.gather(*(check(name, method, role) for role in NAMES))
    await asyncio.gather(*(channel.close() for channel in channels.values()))
    assert wrong == [], wrong
    assert tried > 2000
    assert passed > 100


async def test_unknown_methods_need_a_token_reflection_an_operator_and_health_nothing(
    behind: Behind,
) -> None:
    channel = behind.channel("ranker")
    tokens = {
        role: tokens_of(role, behind.door.signing_key, behind.older)["right"][0] for role in NAMES
    }
    unknown = "/groundswell.ranker.v1.RankerService/Unknown"
    assert await outcome(channel, unknown, None, "unary_unary") == "TOKEN_MISSING"
    assert await outcome(channel, unknown, "nonsense", "unary_stream") == "TOKEN_INVALID"
    assert await outcome(channel, unknown, tokens["monitor"], "unary_unary") == ""
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert await outcome(channel, reflection, None, "stream_stream") == "TOKEN_MISSING"
    assert await outcome(channel, reflection, tokens["backend"], "stream_stream") == "ROLE_MISSING"
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = stub.ServerReflectionInfo(
        iter([asked]), metadata=(("authorization", f"Bearer {tokens['operator']}"),)
    )
    assert len((await answers.read()).list_services_response.service) >= 3
    health = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
    await channel.close()


def test_no_connection_without_a_client_certificate_and_none_in_plain_text(
    behind: Behind,
) -> None:
    address = behind.suite.addresses["ranker"]
    roots = behind.door.certificates.ca.read_bytes()
    for channel in (
        grpc.insecure_channel(address),
        grpc.secure_channel(address, grpc.ssl_channel_credentials(roots)),
    ):
        with channel, pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# --- what it is for


def test_the_whole_suite_works_behind_the_door_and_says_who_read_whose_data(
    behind: Behind,
) -> None:
    client = behind.suite.client
    client.record_events([event("anna", "item-1", "click")])
    before = len(behind.audited())
    answer = client.recommend("anna")
    assert answer.recommendations
    assert not answer.degradations
    lines = behind.audited()[before:]
    key = Pseudonymizer(SECRET).mark("anna").hex()
    assert {name: lines[0][name] for name in ("who", "method", "users", "status")} == {
        "who": "local",
        "method": "groundswell.ranker.v1.RankerService/Recommend",
        "users": [key],
        "status": "OK",
    }
    # The other services write theirs to stdout.
    for name, method in (
        ("session", "groundswell.session.v1.SessionService/EncodeSession"),
        ("profile", "groundswell.profile.v1.ProfileService/GetProfile"),
    ):
        written = [line for line in behind.suite.processes[name].log().splitlines() if key in line]
        found = [json.loads(line) for line in written]
        assert any(one["who"] == "ranker" and one["method"] == method for one in found)
    with pytest.raises(GroundswellError):
        client.recommend("anna", page_size=-1)
    assert behind.audited()[-1]["status"] == "INVALID_ARGUMENT"
    assert "anna" not in (behind.suite.folder / "audit.log").read_text()
    assert (behind.suite.folder / "audit.log").stat().st_mode & 0o077 == 0


def test_metrics_need_tls_and_a_token_of_a_monitor(behind: Behind) -> None:
    context = ssl.create_default_context(cafile=behind.door.certificates.ca)
    context.load_cert_chain(*behind.door.certificates.client)

    def status(token: str | None) -> int:
        request = urllib.request.Request(f"https://127.0.0.1:{behind.metrics_port}/metrics")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, context=context, timeout=5) as answer:
                assert b"grpc_server_handled_total" in answer.read()
                return int(answer.status)
        except HTTPError as error:
            return error.code

    tokens = {
        role: tokens_of(role, behind.door.signing_key, behind.older)["right"][0] for role in NAMES
    }
    assert [status(None), status("nonsense"), status(tokens["backend"])] == [401, 401, 403]
    assert [status(tokens["monitor"]), status(tokens["operator"])] == [200, 200]


# --- what is replaced while calls run


async def test_certificates_and_keys_are_replaced_without_a_failed_call(behind: Behind) -> None:
    door, suite = behind.door, behind.suite
    served = await asyncio.to_thread(certificate_of, behind)
    async with Load(behind) as load:
        renewed = make_certificates(suite.folder / "renewed", LOCAL_NAMES, days=1)
        first = door.certificates.ca.read_bytes()
        replace(door.certificates.ca, first + renewed.ca.read_bytes())
        await load.goes_on()
        for old, new in zip(
            (*door.certificates.server, *door.certificates.client),
            (*renewed.server, *renewed.client),
            strict=True,
        ):
            replace(old, new.read_bytes())
        await load.goes_on()
        replace(door.certificates.ca, renewed.ca.read_bytes())
        # The key that the services sign with, and that of the client's token.
        newest = suite.folder / "newest.json"
        make_signing_key(newest, door.keys)
        await load.goes_on()
        replace(door.signing_key, newest.read_bytes())
        token = tokens_of("backend", newest, behind.older)["right"][0]
        replace(door.token, str(token).encode())
        await load.goes_on()
        drop_public_key(door.keys, json.loads(behind.older.read_bytes())["kid"])
        await load.goes_on()
    assert await asyncio.to_thread(certificate_of, behind) != served
    channel = behind.channel("ranker")
    path = "/groundswell.ranker.v1.RankerService/SimilarItems"
    kinds = tokens_of("backend", newest, behind.older)
    assert await outcome(channel, path, kinds["right"][0], "unary_unary") == ""
    dropped = kinds["of the older key"][0]
    assert await outcome(channel, path, dropped, "unary_unary") == "TOKEN_INVALID"
    await channel.close()


async def test_while_a_process_drains_calls_with_a_token_end_well_and_others_are_refused(
    behind: Behind,
) -> None:
    channel = behind.channel("session")
    path = "/groundswell.session.v1.SessionService/RecordEvents"
    kinds = tokens_of("backend", behind.door.signing_key, behind.older)
    async with behind.client() as client:
        clicks = [event("cleo", f"item-{number % 9}", "click") for number in range(300)]
        in_flight = asyncio.create_task(client.record_events(clicks))
        await asyncio.sleep(0.01)
        behind.suite.session.popen.send_signal(signal.SIGTERM)
        seen = []
        while behind.suite.session.is_running:
            for kind in ("none", "expired", "unsigned", "of another key"):
                seen.append(await outcome(channel, path, kinds[kind][0], "unary_unary", 1.0))
            await asyncio.sleep(0.05)
        assert len(await in_flight) == len(clicks)
    refused = [reason for reason in seen if reason]
    assert len(refused) >= 12
    # What is not refused at the door found no server.
    assert set(seen[: len(refused)]) <= {"TOKEN_MISSING", "TOKEN_EXPIRED", "TOKEN_INVALID"}
    await channel.close()
