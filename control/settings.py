"""Settings of the control plane."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from serving.settings import ProcessSettings, together


class ControlSettings(ProcessSettings):
    """The admin door, the rollout file, and where state is kept."""

    rollouts: Path | None = Field(None, description="The rollout file, watched while it serves")
    rollouts_strict: bool = Field(
        False, description="One rollout at fault refuses the whole rollout file, at start and when edited"
    )
    new_epoch: bool = Field(
        False,
        description="Nodes are to take what the state database holds, though they hold what is newer: for one"
        " start, after a backup was put back",
    )
    served_share: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the living nodes that must serve a step for its time to count",
    )
    admin_host: str = Field("127.0.0.1", description="Address of the admin door")
    admin_port: int = Field(9000, ge=0, le=65535, description="Port of the admin door")
    admin_tls_cert: Path | None = Field(None, description="Certificate of the admin door, PEM; followed")
    admin_tls_key: Path | None = Field(None, description="Private key of that certificate, PEM")
    admin_socket: Path | None = Field(None, description="A Unix socket of the admin door beside its port")
    admin_max_connections: int = Field(1000, ge=1, description="Connections that the admin door holds")
    admin_max_connections_per_client: int = Field(0, ge=0, description="Of them, of one address; 0: any")
    token: SecretStr = Field(SecretStr(""), description="Bearer token of the admin door; needed off loopback")
    viewer_token: SecretStr = Field(SecretStr(""), description="Bearer token that may read only")
    tokens: Path | None = Field(
        None, description="File of people with tokens and roles, beside UNDERSTUDY_TOKEN; followed"
    )
    hook_secret: SecretStr = Field(
        SecretStr(""), description="What requests to the webhooks of `run` steps are signed with"
    )
    notifications: Path | None = Field(None, description="File that says who is told of what happens")
    admin_url: str = Field(
        "", description="Where people reach the admin door, for links; empty: `link` of the notifications"
    )
    mlflow: str = Field(
        "", description="URL of the MLflow server whose aliases are followed; empty: the first of `--models`"
    )
    mlflow_webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret of MLflow's webhooks; several, with spaces between them, while it changes",
    )
    follow_seconds: float = Field(
        60.0, ge=1, le=86_400, description="MLflow is asked so often where followed aliases stand"
    )
    receipt_key_days: float = Field(
        30.0, gt=0, le=3650, description="Days after which receipts are signed with a new key"
    )
    prometheus: str = Field("", description="URL of the Prometheus that PromQL guards ask")
    database: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy URL; empty: SQLite in the state folder"
    )
    database_seconds: float = Field(
        5.0, ge=2, le=60, description="How long PostgreSQL may take over a transaction, connecting included"
    )

    @property
    def store_url(self) -> str:
        """Where the state is, as SQLAlchemy names it."""
        return self.database.get_secret_value() or f"sqlite:///{self.state_dir.absolute() / 'state.db'}"

    @property
    def lead_lock(self) -> Path | None:
        """The file whose lock says who leads; None where the database does, which several machines share."""
        return None if self.database.get_secret_value() else self.state_dir / "control.lock"

    @model_validator(mode="after")
    def _fit_admin(self) -> Self:
        """As those of the public door."""
        together(self, "admin_tls_cert", "admin_tls_key")
        return self
