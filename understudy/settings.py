"""Settings of a whole node with its control plane: all of those below it, and how they reach children."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from control.settings import ControlSettings
from router.run_dir import RunDir
from router.settings import NodeSettings
from serving.host.cpus import available_cpus

_CONTROLS_OWN = ("database", "viewer_token", "hook_secret", "mlflow_webhook_secret")


class SupervisorSettings(NodeSettings):
    """What `understudy node` can be told."""

    workers: int = Field(1, ge=1, le=256, description="Worker processes on the public port")
    grpc_workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Worker processes on the gRPC port, each with models of its own; 0: no gRPC",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of a node's own /metrics")
    metrics_port: int = Field(9001, ge=0, le=65535, description="Port of a node's own /metrics")
    control: str = Field("", description="URL of the control plane elsewhere; empty: the one on this machine")
    watchdog_seconds: float = Field(
        10.0, ge=0, description="A process that hangs so long is replaced; 0: never"
    )


class UpSettings(ControlSettings, SupervisorSettings):
    """What `understudy up` can be told."""

    def placed(self, run_dir: Path) -> "UpSettings":
        """These settings with the folder of sockets, and what follows from it for the processes of a node."""
        placed: dict[str, Path] = {"run_dir": run_dir, "relay": RunDir(run_dir).relay}
        if self.rate_limit > 0:
            placed["buckets"] = run_dir / "buckets"
        if self.admin_tls_cert is not None and self.admin_socket is None and not self.control:
            placed["admin_socket"] = run_dir / "control.sock"
        return self.model_copy(update=placed)

    @model_validator(mode="after")
    def _port_of_grpc(self) -> Self:
        if not self.grpc_workers and self.grpc_port != NodeSettings.model_fields["grpc_port"].default:
            raise ValueError("--grpc-port needs --grpc-workers beside it")
        return self

    @property
    def control_url(self) -> str:
        """Where the control plane of this node answers: by TCP or, past its TLS, by a socket of this user."""
        if self.control:
            return self.control
        if self.admin_socket is not None:
            return f"unix:{self.admin_socket}"
        host = "127.0.0.1" if self.admin_host in {"0.0.0.0", "::"} else self.admin_host  # noqa: S104
        return f"http://{host}:{self.admin_port}"

    def environment(self, *, data_plane: bool = False) -> dict[str, str]:
        """These settings as `UNDERSTUDY_*`, for the processes that are started.

        Args:
            data_plane: without the secrets that only control needs, also where they are in our environment.
        """
        values = self.model_dump(mode="python", exclude={"workers", "grpc_workers"}, exclude_none=True)
        values["control"] = self.control_url
        # Each worker with a thread for every CPU would have them wait for each other in every run.
        values["threads"] = self.threads or max(1, available_cpus() // (self.workers + self.grpc_workers))
        if data_plane:
            values |= dict.fromkeys(_CONTROLS_OWN, "")
        return {f"UNDERSTUDY_{name.upper()}": _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
