"""Asks for the lists of several users at once, and says what was shown: `... anna,ben`."""

import asyncio
import sys

from groundswell.client import AsyncGroundswellClient, Targets
from groundswell.profile.v1.outcome_service_pb2 import Impression


async def main(users: list[str], addresses: list[str]) -> None:
    # One client for the life of the event loop: its connections are shared by all calls.
    async with AsyncGroundswellClient(Targets(*addresses)) as client:
        answers = await asyncio.gather(*(client.recommend(user, page_size=3) for user in users))
        for user, answer in zip(users, answers, strict=True):
            print(user, *(found.item_id for found in answer.recommendations))
        # Only two of the three fitted on the page.
        shown = [
            Impression(
                attribution_token=answer.attribution_token,
                item_ids=[found.item_id for found in answer.recommendations[:2]],
            )
            for answer in answers
        ]
        await client.record_impressions(shown)


asyncio.run(main(sys.argv[1].split(","), sys.argv[2:]))
