"""Every method of the contracts says who may call it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

import groundswell.profile.v1.catalogue_service_pb2
import groundswell.profile.v1.event_service_pb2
import groundswell.profile.v1.outcome_service_pb2
import groundswell.profile.v1.profile_service_pb2
import groundswell.profile.v1.text_service_pb2
import groundswell.profile.v1.user_data_service_pb2
import groundswell.ranker.v1.ranker_service_pb2
import groundswell.session.v1.session_service_pb2  # noqa: F401
from groundswell.common.v1 import access_pb2, model_service_pb2  # noqa: F401
from groundswell.serving.audit import subjects_of

PROTOS = Path(__file__).resolve().parents[2] / "protos"


def methods() -> Iterator[MethodDescriptor]:
    for path in sorted(PROTOS.glob("groundswell/**/*_service.proto")):
        file = Default().FindFileByName(str(path.relative_to(PROTOS)))
        for service in file.services_by_name.values():
            yield from service.methods


def test_every_method_names_the_roles_that_may_call_it() -> None:
    access = {m.full_name: m.GetOptions().Extensions[access_pb2.access] for m in methods()}
    assert len(access) > 30
    silent = [name for name, its in access.items() if not its.roles]
    assert silent == []
    wrong = [n for n, its in access.items() if access_pb2.ROLE_UNSPECIFIED in its.roles]
    assert wrong == []
    repeated = [n for n, its in access.items() if len(set(its.roles)) < len(its.roles)]
    assert repeated == []


def name_user(request: Any) -> None:
    fields = request.DESCRIPTOR.fields_by_name
    if "requests" in fields:
        name_user(request.requests.add())
    elif "request" in fields:
        name_user(request.request)
    else:
        request.user_id = "ann"


def test_the_audit_log_finds_the_user_of_every_request_that_reads_one() -> None:
    reading = [m for m in methods() if m.GetOptions().Extensions[access_pb2.access].reads_user]
    assert len(reading) > 10
    for method in reading:
        request = GetMessageClass(method.input_type)()
        assert list(subjects_of(request)) == []
        name_user(request)
        assert list(subjects_of(request)) == ["ann"], method.full_name


def test_the_audit_log_takes_a_request_that_names_no_user() -> None:
    assert list(subjects_of(access_pb2.Access())) == []
