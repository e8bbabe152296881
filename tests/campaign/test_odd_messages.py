"""A hundred thousand odd requests to real services: all are answered, and memory stays flat."""

import sys
import time
from pathlib import Path

from tests.support.odd_calls import NUM_INPUTS, OddCalls
from tests.support.suite import Suite

NUM_EXAMPLES = 104_000 // NUM_INPUTS
WARM = 0.3
"""After this share of them, memory stays as it is."""
MAX_GROWTH_BYTES = 100 * 1024 * 1024


def test_no_request_fails_a_service_and_memory_stays_flat(tmp_path: Path, bundles: Path) -> None:
    with Suite(tmp_path, bundles) as suite:
        suite.fill()
        calls = OddCalls(suite)
        began = time.monotonic()
        num_warm = int(WARM * NUM_EXAMPLES)

        def each(num_examples: int) -> None:
            if num_examples == num_warm:
                warm.update(calls.sizes)
            if num_examples % 500 == 0:
                say = f"{calls.outcomes.total():,} calls in {time.monotonic() - began:.0f} s: "
                sys.stdout.write(f"{say}{dict(calls.outcomes)}, {calls.sizes}\n")

        warm: dict[str, int] = {}
        calls.send(NUM_EXAMPLES, each)
        calls.assert_all_is_well()
        grown = {name: size - warm[name] for name, size in calls.sizes.items()}
    sys.stdout.write(f"grown by {grown} bytes\n")
    assert max(grown.values()) < MAX_GROWTH_BYTES
    assert calls.outcomes.total() >= 100_000
