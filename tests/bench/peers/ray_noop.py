"""Tasks of Ray that do nothing: one node with two processors, the best of three batches."""

import json
import os
import time

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray  # noqa: E402, the variable has to be set before

TASKS = 10_000


def batch(task):
    began = time.perf_counter()
    ray.get([task.remote(number) for number in range(TASKS)])
    return TASKS / (time.perf_counter() - began)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")

    @ray.remote
    def nothing(_):
        return None

    ray.get([nothing.remote(number) for number in range(200)])
    best = max(batch(nothing) for _ in range(3))
    ray.shutdown()
    print(json.dumps({"name": f"Ray {ray.__version__}", "tasks_per_second": best}))
