"""What a process that serves can be told: by the command line, then `UNDERSTUDY_*`, then files in
`/run/secrets` (`understudy_token` and so on, as containers are given secrets), then these defaults.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


_SECRETS = Path("/run/secrets")


class ServingSettings(BaseSettings):
    """Settings of every process that answers inference requests."""

    model_config = SettingsConfigDict(
        env_prefix="UNDERSTUDY_",
        extra="ignore",
        frozen=True,
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    models: Path = Field(Path("models"), description="The model repository: <name>/<version>/model.onnx")
    state_dir: Path = Field(Path(".understudy"), description="Where processes keep what must survive them")
    host: str = Field("0.0.0.0", description="Address of the public door")  # noqa: S104  (the public door)
    port: int = Field(8000, ge=0, le=65535, description="Port of the public door")
    threads: int = Field(0, ge=0, le=1024, description="Threads of one model run; 0 follows the CPU limit")
    max_body_bytes: int = Field(64 << 20, ge=1024, description="Largest request body, also when inflated")
    receive_seconds: float = Field(30.0, gt=0, description="Time to receive one whole request")
    idle_seconds: float = Field(75.0, gt=0, description="Time an idle connection is kept")
    drain_seconds: float = Field(1.0, ge=0, description="Not ready, but still answering, after SIGTERM")
    grace_seconds: float = Field(20.0, ge=0, description="Time for requests under way after that")
    allow_load: bool = Field(False, description="Let clients load and unload models of the repository")
    log_format: Literal["console", "json"] = Field("console", description="How log lines are written")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least to log")
