"""Settings of the processes of the data plane that the supervisor starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Json, SecretStr, model_validator

from serving.settings import INTERNAL, ServingSettings, needs


class NodeSettings(ServingSettings):
    """A worker or a sandbox, and what they share with their supervisor."""

    control: str = Field("http://127.0.0.1:9000", description="URL of the control plane, or unix:<path>")
    token: SecretStr = Field(SecretStr(""), description="Bearer token for the control plane")
    node: str = Field("local", description="Name of this node in reports", max_length=100)
    label: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        description="Label of this node, e.g. its region: rollouts in waves go by it",
    )
    run_dir: Annotated[Path, INTERNAL] = Field(
        Path(".understudy/run"), description="Unix sockets at which its processes meet"
    )
    control_ca: Path | None = Field(
        None, description="CA certificates that the control plane's is checked by"
    )
    relay: Annotated[Path | None, INTERNAL] = Field(
        None, description="Where the node's supervisor takes its processes' reports to control"
    )
    buckets: Annotated[Path | None, INTERNAL] = Field(
        None, description="Token buckets that the node's processes share"
    )
    heartbeat: Annotated[Path | None, INTERNAL] = Field(
        None, description="Where a process shows its supervisor that it lives"
    )
    grpc_port: int = Field(8001, ge=1, le=65535, description="Port of the gRPC door, shared by its workers")
    sandbox_memory: int = Field(4 << 30, ge=64 << 20, description="Most memory of one sandbox, bytes")
    records: str = Field(
        "",
        description="Where the prediction log goes: a folder, `s3://`, `gs://` or `az://`; rollouts say what",
    )
    records_keep: str = Field(
        "",
        pattern=r"^([1-9][0-9]{0,4}[hd])?$",
        description="Files of it older than this are deleted, e.g. `30d`; of a folder only; empty: none are",
    )
    records_roll_bytes: int = Field(
        64 << 20, ge=1 << 10, le=128 << 20, description="A file of it is written when its rows take so much"
    )
    records_roll_seconds: float = Field(
        60.0, ge=0.1, le=3600, description="And when its first row is so old: what a crash loses at most"
    )
    outcomes_spool_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Most of the disk for outcomes that control has not taken yet"
    )
    target_files: Path | None = Field(
        None,
        description="Folder of tokens and certificates that rollouts name for servers behind URLs; followed",
    )
    canary_naming: Literal["anyone", "keys", "nobody"] = Field(
        "anyone", description="Who may name the canary in a request: `anyone`, holders of `keys`, `nobody`"
    )
    canary_keys: Path | None = Field(
        None, description="File of the keys that may (`understudy keys new`); followed on disk"
    )

    @model_validator(mode="after")
    def _keys_name_the_canary(self) -> Self:
        if self.canary_naming == "keys":
            needs(self, "canary_naming", "canary_keys")
        elif self.canary_keys is not None:
            raise ValueError("--canary-keys needs --canary-naming keys beside it")
        return self

    @model_validator(mode="after")
    def _records_go_somewhere(self) -> Self:
        scheme, separator, _ = self.records.partition("://")
        if separator and scheme not in {"s3", "gs", "az"}:
            raise ValueError(f"--records: {scheme}:// is not known; a folder, s3://, gs:// or az:// is")
        if separator and self.records_keep:
            raise ValueError("--records-keep is for a folder: a bucket has lifecycle rules for that")
        needs(self, "records_keep", "records")
        if not self.records:
            for name in ("records_roll_bytes", "records_roll_seconds"):
                if getattr(self, name) != NodeSettings.model_fields[name].default:
                    needs(self, name, "records")
        return self


class WorkerSettings(NodeSettings):
    """One worker: which of the node's it is, and the listening sockets it inherits."""

    worker: int = Field(0, ge=0)
    listener_fd: int = Field(-1, ge=-1)
    neighbour_fds: Mapping[int, int] = Field(default_factory=dict)
    """By number of each other worker: its listening socket, to accept at while it is away."""


class SandboxSettings(NodeSettings):
    """One sandbox: the candidate that it runs."""

    sandbox_model: str
    sandbox_target: str
    sandbox_url: str = ""
    sandbox_server: Json[Any] = "null"
    """How that URL is asked, as documents have it; null as usual."""
    sandbox_live: bool = True
    sandbox_sha256: str = ""
    sandbox_files: str = ""
    """What the names of its socket files begin with; the candidate's id when empty."""


def seconds_of(keep: str) -> float:
    """A time of `--records-keep`, which is whole hours or days."""
    return float(keep[:-1]) * (3600.0 if keep.endswith("h") else 86400.0)
