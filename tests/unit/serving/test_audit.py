"""The audit log: of whom it tells, in how many lines, and who may read its file."""

import json
from pathlib import Path
from typing import Any, cast

from groundswell.profile.v1.profile_service_pb2 import (
    BatchGetProfilesRequest,
    GetProfileRequest,
)
from groundswell.serving.around import Context
from groundswell.serving.audit import AuditLog
from groundswell.serving.pseudonym import Pseudonymizer

PSEUDONYMS = Pseudonymizer("a secret")


async def read(log: AuditLog, sent: bytes) -> None:
    reading = log.reading(BatchGetProfilesRequest.FromString)

    async def behaviour(request: Any, _: Context) -> object:
        return reading(request)

    await log.around("/a.Service/Method", behaviour)(sent, cast("Context", None))


async def test_a_request_of_too_many_users_writes_one_line(tmp_path: Path) -> None:
    log = AuditLog(PSEUDONYMS, tmp_path / "audit.log")
    requests = [GetProfileRequest(user_id=f"user-{number}") for number in range(1000)]
    await read(log, BatchGetProfilesRequest(requests=requests).SerializeToString())
    (line,) = (tmp_path / "audit.log").read_text().splitlines()
    users = json.loads(line)["users"]
    assert len(users) == 256
    assert users[0] == PSEUDONYMS.mark("user-0").hex()
    assert PSEUDONYMS.user_key("user-0").hex() not in line
    log.close()


async def test_the_file_is_of_its_owner_alone_also_after_it_was_moved_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(PSEUDONYMS, path)
    path.rename(tmp_path / "audit.log.1")
    sent = BatchGetProfilesRequest(requests=[GetProfileRequest(user_id="ann")])
    await read(log, sent.SerializeToString())
    assert (tmp_path / "audit.log.1").read_text() == ""
    assert len(path.read_text().splitlines()) == 1
    modes = [file.stat().st_mode & 0o777 for file in (path, tmp_path / "audit.log.1")]
    assert modes == [0o600, 0o600]
    log.close()
