"""A Ray cluster of two nodes on this machine, a process of its own.

`python -m tests.support.ray_cluster` prints the cluster's address. When its input ends, it prints
on how many nodes it saw work, and ends the cluster.
"""

import os
import select
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray._private.state import available_resources_per_node
from ray.cluster_utils import Cluster

_NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}
_LOOK_EVERY_S = 0.1


def main() -> None:
    """Run until the input ends."""
    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    try:
        cluster.add_node(**_NODE)
        cluster.wait_for_nodes()
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        print(cluster.address, flush=True)  # noqa: T201
        busy = set()
        while not select.select([sys.stdin], [], [], _LOOK_EVERY_S)[0]:
            for node, resources in available_resources_per_node().items():
                if resources.get("CPU", 0) < 1:
                    busy.add(node)
        print(len(busy))  # noqa: T201
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
