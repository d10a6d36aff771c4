"""Ray Serve: one replica that answers Starlette requests itself."""

import signal
import sys

import iris
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Iris:
    """The model."""

    async def __call__(self, request: Request) -> dict:
        """One request."""
        return iris.answer((await request.json())["features"])


if __name__ == "__main__":
    ray.init(num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1")
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run(Iris.options(logging_config={"enable_access_log": False, "log_level": "WARNING"}).bind())
    signal.pause()
