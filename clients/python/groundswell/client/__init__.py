"""The client of Groundswell, sync and aio; it needs grpcio and protobuf alone.

>>> from groundswell.client import GroundswellClient, event
>>> with GroundswellClient() as client:
...     client.record_events([event("anna", "item-7", "click")])
...     answer = client.recommend("anna", page_size=5)
"""

from groundswell.client.aio.client import AsyncGroundswellClient
from groundswell.client.channels import Deadlines, Targets
from groundswell.client.errors import FieldViolation, GroundswellError, OverloadedError
from groundswell.client.messages import event, item, vector_values
from groundswell.client.requests import recommend_request
from groundswell.client.secured import Tls
from groundswell.client.sync.client import GroundswellClient

__all__ = [
    "AsyncGroundswellClient",
    "Deadlines",
    "FieldViolation",
    "GroundswellClient",
    "GroundswellError",
    "OverloadedError",
    "Targets",
    "Tls",
    "event",
    "item",
    "recommend_request",
    "vector_values",
]
