"""A worker whose door speaks gRPC: router and stable models in one process, as any worker's.

It has models of its own, so a gRPC request takes no hop to a worker that has them.
"""

from router.settings import WorkerSettings
from router.worker import Worker
from serving.errors import ServingError
from serving.grpc.server import run_grpc
from serving.host.process import die_with_parent, set_up_logs
from serving.http.public_door import Doorkeeper
from serving.telemetry.cells import Metrics


def main() -> None:
    """Run one until told to end."""
    settings = WorkerSettings()
    die_with_parent()
    set_up_logs(settings.log_format, settings.log_level)
    metrics = Metrics(settings.state_dir / "metrics", f"worker{settings.worker}")
    try:
        keeper = Doorkeeper(settings, metrics, settings.buckets)
    except ServingError as error:
        raise SystemExit(f"error: {error}") from None
    assert settings.heartbeat is not None
    run_grpc(Worker(settings, metrics), settings, settings.grpc_port, keeper, settings.heartbeat)


if __name__ == "__main__":
    main()
