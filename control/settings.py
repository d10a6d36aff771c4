"""Settings of the control plane."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from serving.settings import ServingSettings


class ControlSettings(ServingSettings):
    """The admin door, the rollout file, and where state is kept."""

    model_config = SettingsConfigDict(env_prefix="UNDERSTUDY_", extra="ignore", frozen=True)

    rollouts: Path | None = Field(None, description="The rollout file, watched while it serves")
    admin_host: str = Field("127.0.0.1", description="Address of the admin door")
    admin_port: int = Field(9000, ge=0, le=65535, description="Port of the admin door")
    token: str = Field("", description="Bearer token of the admin door; needed off loopback", repr=False)
    viewer_token: str = Field("", description="Bearer token that may read only", repr=False)
    prometheus: str = Field("", description="URL of the Prometheus that PromQL guards ask")
    database: str = Field("", description="SQLAlchemy URL; empty: SQLite in the state folder", repr=False)
