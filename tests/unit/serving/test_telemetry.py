"""All logs have one format, and counters are made at their first use."""

import json
import subprocess
import sys
import textwrap

import prometheus_client
import pytest

from groundswell.serving import telemetry


def log_lines(log_format: str, level: str, code: str) -> list[str]:
    """What a process of its own writes: logging is set up once per process."""
    script = f"""
import logging
import structlog
from groundswell.serving.telemetry import set_up_logging
log = structlog.get_logger("a module's, before anything is set up")
set_up_logging("ERROR", "json", final=False)
log.info("too early")
set_up_logging({level!r}, {log_format!r}, final=True)
{textwrap.dedent(code)}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_our_lines_and_the_libraries_warnings_are_json_alike() -> None:
    code = """
        log.info("ours", number=1)
        log.debug("below the level")
        logging.getLogger("library").warning("theirs %s", 2)
        logging.getLogger("library").info("not worth a line")
    """
    ours, theirs = (json.loads(line) for line in log_lines("json", "INFO", code))
    assert (ours["event"], ours["number"], ours["level"]) == ("ours", 1, "info")
    assert (theirs["event"], theirs["level"]) == ("theirs 2", "warning")
    assert "timestamp" in ours
    assert "timestamp" in theirs


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_never_shows_the_values_of_variables(log_format: str) -> None:
    code = """
        def fail(user):
            raise ValueError("broken")
        try:
            fail("anna")
        except ValueError as error:
            log.error("failed", exc_info=error)
            secret = "hunter2"
            logging.getLogger("library").error("failed too", exc_info=error)
    """
    text = "\n".join(log_lines(log_format, "INFO", code))
    assert text.count("ValueError: broken") == 2
    assert "anna" not in text
    assert "hunter2" not in text


def test_the_console_format_is_for_eyes() -> None:
    (line,) = log_lines("console", "INFO", 'log.info("serving", address="127.0.0.1:1")')
    assert "serving" in line
    assert "address=127.0.0.1:1" in line
    assert "\x1b" not in line


def sample(name: str, **labels: str) -> float | None:
    return prometheus_client.REGISTRY.get_sample_value(name, labels)


def test_a_counter_begins_with_its_first_use_and_counts_by_label() -> None:
    telemetry.count("test_degradations", kind="PROFILE_STALE")
    telemetry.count("test_degradations", kind="PROFILE_STALE")
    telemetry.count("test_degradations", 3, kind="USER_UNKNOWN")
    assert sample("groundswell_test_degradations_total", kind="PROFILE_STALE") == 2
    assert sample("groundswell_test_degradations_total", kind="USER_UNKNOWN") == 3


def test_a_counter_without_labels_and_a_gauge() -> None:
    telemetry.count("test_refused")
    telemetry.gauge("test_queue", 5)
    telemetry.gauge("test_queue", 2)
    assert sample("groundswell_test_refused_total") == 1
    assert sample("groundswell_test_queue") == 2
