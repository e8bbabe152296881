"""The ranker without metrics: the other side of what metrics and traces cost."""

import runpy

from prometheus_client import Counter, Gauge, Histogram


def _nothing(*_: object) -> None:
    pass


if __name__ == "__main__":
    for metric in (Counter, Gauge, Histogram):
        for method in ("inc", "set", "observe"):
            setattr(metric, method, _nothing)
    runpy.run_module("groundswell.ranker_service", run_name="__main__", alter_sys=True)
