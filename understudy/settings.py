"""Settings of a whole node with its control plane: all of those below it, and how they reach children."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from control.settings import ControlSettings
from router.settings import NodeSettings


class UpSettings(ControlSettings, NodeSettings):
    """What `understudy up` and `understudy node` can be told."""

    model_config = SettingsConfigDict(env_prefix="UNDERSTUDY_", extra="ignore", frozen=True)

    workers: int = Field(1, ge=1, le=256, description="Worker processes on the public port")
    metrics_host: str = Field("127.0.0.1", description="Address of a node's own /metrics")
    metrics_port: int = Field(9001, ge=0, le=65535, description="Port of a node's own /metrics")
    control: str = Field("", description="URL of a control plane elsewhere; empty: the one on this machine")

    @property
    def control_url(self) -> str:
        """Where the control plane of this node answers."""
        host = "127.0.0.1" if self.admin_host in {"0.0.0.0", "::"} else self.admin_host  # noqa: S104
        return self.control or f"http://{host}:{self.admin_port}"

    def environment(self) -> dict[str, str]:
        """These settings as `UNDERSTUDY_*`, for the processes that are started."""
        values = self.model_dump(mode="json", exclude={"workers"}, exclude_none=True)
        values["control"] = self.control_url
        return {f"UNDERSTUDY_{name.upper()}": str(value) for name, value in values.items()}
