"""Shows a list, records a click on it, and reads an error: `python backend.py anna`."""

import sys

from groundswell.client import GroundswellClient, GroundswellError, Targets, event
from groundswell.common.v1.event_pb2 import EventStatus
from groundswell.ranker.v1.ranker_service_pb2 import Degradation

user, *addresses = sys.argv[1:]
with GroundswellClient(Targets(*addresses)) as client:
    try:
        # With a deadline of 2 s unless `timeout=` says another; retries are within it.
        answer = client.recommend(user, page_size=5)
        for found in answer.recommendations:
            print(f"item: {found.item_id} {found.score:.2f}")
        print("degradations:", *map(Degradation.Name, answer.degradations))

        # The token says which list led to the click. An event that is sent again is a duplicate.
        token = answer.attribution_token
        click = event(user, answer.recommendations[0].item_id, "click", attribution_token=token)
        (result,) = client.record_events([click])
        print("recorded:", EventStatus.Name(result.status), result.reason)

        client.recommend(user, page_size=0)
    except GroundswellError as error:
        fields = ",".join(wrong.field for wrong in error.violations)
        print(f"error: {error.status.name} {error.reason} {fields} {error.retry_after_s or 0:g}s")
