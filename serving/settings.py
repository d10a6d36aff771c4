"""What a process that serves can be told.

By the command line, then `UNDERSTUDY_*`, then files in `/run/secrets` (`understudy_token` and so on, as
containers are given secrets), then these defaults.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving.places import Origin, Places

_SECRETS = Path("/run/secrets")


INTERNAL = "internal"
"""Marks a setting that the supervisor gives to the processes that it starts: an option of no command."""


ModelPlaces = Annotated[InstanceOf[Places], BeforeValidator(Places.of), PlainSerializer(str), NoDecode]
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


class ProcessSettings(BaseSettings):
    """Settings of every process."""

    model_config = SettingsConfigDict(
        env_prefix="UNDERSTUDY_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # it may have what a place must not
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    models: ModelPlaces = Field(
        Places(("models",)),
        description="Where models are, <name>/<version>/model.onnx: a folder, `s3://`, `gs://`, `az://` or"
        " `mlflow+https://`; several: given several times, in the variable with `|` between them",
    )
    model_cache: Path | None = Field(
        None,
        description="Folder for models from elsewhere; none: `model-cache` in the state folder",
    )
    model_cache_size: str = Field(
        "20GB", pattern=r"^[1-9][0-9]{0,5}(MB|GB|TB)$", description="The most that it takes, e.g. `500MB`"
    )
    model_stagger_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Over how long the nodes of a fleet spread the download of a large model; 0: none waits",
    )
    require_signature: Path | None = Field(
        None,
        description="PEM file of public keys and certificates; models are accepted only with a signature"
        " (OpenSSF model-signing, `model.sig` beside `model.onnx`) by one of them",
    )
    python_steps: bool = Field(
        False,
        description="Run steps of graphs that are Python, in a process of their own: code of whoever can"
        " write models, with the rights of this user",
    )
    state_dir: Path = Field(Path(".understudy"), description="Where processes keep what must survive them")
    log_format: Literal["console", "json"] = Field("console", description="How log lines are written")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least to log")

    @property
    def origin(self) -> Origin:
        """Where models come from, for `serving.sources.opening.open_source`."""
        return Origin(
            self.models,
            self.model_cache or self.state_dir / "model-cache",
            bytes_of(self.model_cache_size),
            self.model_stagger_seconds,
            self.require_signature,
            self.state_dir / "signatures",
            self.python_steps,
        )


class ServingSettings(ProcessSettings):
    """Settings of every process that answers inference requests."""

    host: str = Field("0.0.0.0", description="Address of the public door")  # noqa: S104  (the public door)
    port: int = Field(8000, ge=0, le=65535, description="Port of the public door")
    threads: int = Field(
        0, ge=0, le=1024, description="Threads of one model run; 0: one for each CPU a worker has"
    )
    max_body_bytes: int = Field(64 << 20, ge=1024, description="Largest request body, also when inflated")
    max_bodies_bytes: int = Field(
        0, ge=0, description="Memory of one process for bodies under way; 0: 1/16 of the machine's"
    )
    receive_seconds: float = Field(30.0, gt=0, description="Time to receive one whole request")
    idle_seconds: float = Field(75.0, gt=0, description="Time an idle connection is kept")
    drain_seconds: float = Field(1.0, ge=0, description="Not ready, but still answering, after SIGTERM")
    grace_seconds: float = Field(20.0, ge=0, description="Time for requests under way after that")
    allow_load: bool = Field(False, description="Let clients load and unload models of the repository")
    tls_cert: Path | None = Field(None, description="Certificate of the public door, PEM; followed on disk")
    tls_key: Path | None = Field(None, description="Private key of that certificate, PEM")
    api_keys: Path | None = Field(
        None, description="File of API keys (`understudy keys new`); followed on disk"
    )
    rate_limit: float = Field(0.0, ge=0, le=1e6, description="Requests a second of one client; 0: any")
    rate_burst: int = Field(
        0, ge=0, le=10**9, description="Requests it may send at once; 0: a second's worth"
    )
    rate_header: str = Field(
        "",
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{0,128}$",
        description="Header that names the client, set by a proxy in front; else it is the address",
    )
    max_connections: int = Field(10_000, ge=1, description="Connections that one process holds")
    max_connections_per_client: int = Field(0, ge=0, description="Of them, of one address; 0: any")
    max_wait_seconds: float = Field(1.0, ge=0, description="A request not reached in time gets 503; 0: never")
    adaptive_concurrency: bool = Field(False, description="Limit requests in flight by their latency")
    tell_compute_time: bool = Field(
        False, description="Say in each answer how long its model ran, for a router's guard on latency"
    )
    request_log_sample: float = Field(0.0, ge=0, le=1, description="Share of inference requests to log")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Options that mean nothing without another are refused rather than ignored."""
        together(self, "tls_cert", "tls_key")
        if 0 < self.max_bodies_bytes < self.max_body_bytes:
            raise ValueError("--max-bodies-bytes must be at least --max-body-bytes")
        needs(self, "rate_burst", "rate_limit")
        needs(self, "rate_header", "rate_limit")
        return self


def bytes_of(size: str) -> int:
    """A size of `--model-cache-size`."""
    number, unit = re.fullmatch(r"([0-9]+)([A-Z]+)", size).groups()  # type: ignore[union-attr]  # its pattern
    return int(number) * _BYTES[unit]


def together(settings: BaseSettings, one: str, other: str) -> None:
    """Refuse one of two settings without the other."""
    needs(settings, one, other)
    needs(settings, other, one)


def needs(settings: BaseSettings, one: str, other: str) -> None:
    """Refuse a setting without the one that gives it a meaning."""
    if getattr(settings, one) and not getattr(settings, other):
        raise ValueError(f"--{one.replace('_', '-')} needs --{other.replace('_', '-')} beside it")
