"""Names of the files in a node's `run_dir`: what processes of one machine meet at.

Law: workers know a sandbox by its candidate; each process of a sandbox has files of its own, to which its
supervisor links the names that workers know. So one that ends touches nothing of its successor.
"""

from dataclasses import dataclass
from pathlib import Path

from router.rollout.snapshot import Candidate

_LEFTOVERS = {".sock", ".shadow", ".beat", ".new"}


@dataclass(frozen=True, slots=True)
class SandboxFiles:
    """The files of one sandbox, or the links that workers know.

    Attributes:
        folder: the `run_dir`.
        stem: what their names begin with.
    """

    folder: Path
    stem: str

    @property
    def socket(self) -> Path:
        """Where the canary's share is answered."""
        return self.folder / f"{self.stem}.sock"

    @property
    def shadow(self) -> Path:
        """Where mirrored requests are taken."""
        return self.folder / f"{self.stem}.shadow"

    @property
    def beat(self) -> Path:
        """Where the process shows that it lives."""
        return self.folder / f"{self.stem}.beat"

    @property
    def sockets(self) -> tuple[Path, Path]:
        """What workers open."""
        return self.socket, self.shadow

    def link_to(self, present: "SandboxFiles") -> None:
        """See to it that these names lead to the files of the present process; never missing in between."""
        for name, target in zip(self.sockets, present.sockets, strict=True):
            if not name.is_symlink() or str(name.readlink()) != target.name:
                temporary = name.with_suffix(f"{name.suffix}.new")
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(target.name)
                temporary.replace(name)


@dataclass(frozen=True, slots=True)
class RunDir:
    """A node's folder of sockets and heartbeats."""

    path: Path

    def of(self, candidate: Candidate) -> SandboxFiles:
        """As workers know the sandbox of a candidate."""
        return self.named(candidate.id)

    def named(self, stem: str) -> SandboxFiles:
        """The files whose names begin so."""
        return SandboxFiles(self.path, stem)

    def worker_beat(self, number: int) -> Path:
        """Where a worker shows that it lives."""
        return self.path / f"worker-{number}.beat"

    @property
    def log_writer(self) -> SandboxFiles:
        """The files of the process that writes the prediction log."""
        return self.named("log-writer")

    @property
    def outcome_taker(self) -> SandboxFiles:
        """The files of the process that takes outcomes."""
        return self.named("outcome-taker")

    @property
    def relay(self) -> Path:
        """Where the supervisor takes reports to control."""
        return self.path / "relay.sock"

    def clear(self) -> None:
        """Remove what an earlier node left; for whoever holds the state folder."""
        for path in self.path.glob("*"):
            if path.suffix in _LEFTOVERS:
                path.unlink(missing_ok=True)
