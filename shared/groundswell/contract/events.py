"""The limits of an event, for the services and for the readers of logs."""

MAX_ID_BYTES = 256
"""The longest user id, and the longest item id."""
MAX_EVENT_ID_BYTES = 128
MAX_SESSION_ID_BYTES = 128
MAX_ATTRIBUTION_TOKEN_BYTES = 512

EARLIEST_S = -2_208_988_800
"""1900-01-01 in seconds since 1970: no time lies before it."""
LATEST_S = 7_258_118_400
"""2200-01-01: every time lies before it."""
