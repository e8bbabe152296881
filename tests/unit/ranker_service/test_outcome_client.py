"""Nobody waits for impressions while the profile service is taken for down."""

import asyncio
from types import SimpleNamespace
from typing import cast

from groundswell.ranker_service.outcome_client import OutcomeClient
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.ranker_service.requests import Ask
from groundswell.serving.channels import open_channel


async def test_a_profile_service_that_is_down_is_not_asked_for_impressions() -> None:
    ask = cast(Ask, SimpleNamespace(impressions=SimpleNamespace(within_us=1), user_id="ann"))
    asked = False

    async def send(*_: object) -> None:
        nonlocal asked
        asked = True

    async with open_channel("127.0.0.1:1") as channel:
        client = OutcomeClient(channel, lambda: True)
        client._ask = send  # type: ignore[assignment,method-assign]
        deadline = asyncio.get_running_loop().time() + 5
        assert await client.shown(ask, BundleSpace("a", 4), deadline) is None
    assert not asked
