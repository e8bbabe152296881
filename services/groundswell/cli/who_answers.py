"""Finds out which service of the suite listens at an address."""

from groundswell.client.secured import from_environment
from groundswell.serving.health_probe import NOT_SERVING, SERVING, health

_SERVICES = {
    "profile": "groundswell.profile.v1.ProfileService",
    "session": "groundswell.session.v1.SessionService",
    "ranker": "groundswell.ranker.v1.RankerService",
}
_TIMEOUT_S = 2.0


def who_answers(address: str) -> str | None:
    """The name of the service there: profile, session or ranker; None when it is none of them."""
    tls, _ = from_environment()
    for name, service in _SERVICES.items():
        if health(address, service, _TIMEOUT_S, tls) in (SERVING, NOT_SERVING):
            return name
    return None
