"""Reports failures of jobs that run in the background and go on."""

import structlog

from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count, unexpected

_log = structlog.get_logger(__name__)


def job_failed(job: str, error: Exception) -> None:
    """Log and count a failure of a job, which is tried again."""
    count("background_failures", job=job)
    if isinstance(error, ServiceError):
        _log.warning("background_failure", job=job, reason=error.reason)
    else:
        _log.error("background_failure", job=job, **unexpected(error))
