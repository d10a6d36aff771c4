"""Runs an image as a strict cluster does: its root is read-only, its user has and gets no capability."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.machine import tree
from harness.system import MODELS, START_SECONDS, eventually, free_port

APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
START = r"""
set -e
root=$1 state=$2 models=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$models" "$root/models"
mount -o remount,bind,ro "$root/models"
mount --bind "$state" "$root/state"
exec chroot "$root" "$@"
"""


class Container:
    """One container of an image, with the bundled models in its folder of models.

    Args:
        root: the files of the image.
        config: what it says on how it is run, with Docker's words.
        folder: its state and its log go there.
        arguments: what follows the entry point, as after `docker run IMAGE`.
        environment: further variables.
    """

    def __init__(
        self,
        root: Path,
        config: Mapping[str, Any],
        folder: Path,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.port, self.admin_port = free_port(), free_port()
        ports = {"UNDERSTUDY_PORT": self.port, "UNDERSTUDY_ADMIN_PORT": self.admin_port}
        self._environment = [f"{name}={value}" for name, value in (ports | dict(environment or {})).items()]
        self.log = folder / "container.log"
        state = folder / "state"
        state.mkdir()
        os.chown(state, self.user, self.user)
        command = [*config["Entrypoint"], *(arguments or config["Cmd"])]
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    *APART,
                    "sh",
                    "-c",
                    START,
                    "sh",
                    *map(str, (root, state, MODELS)),
                    *self._restricted(command),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def user(self) -> int:
        """Who runs in it."""
        return int(self.config["User"])

    def first(self) -> int:
        """The process that is number 1 in there."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return int(eventually(children.read_text, "it starts").split()[0])

    def processes(self) -> list[int]:
        """All in there."""
        return tree(self.first())

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """A further command in there, as `docker exec` starts it."""
        inside = ["nsenter", "--target", str(self.first()), "--mount", "--pid", "--root"]
        return subprocess.run(
            [*inside, *self._restricted(list(command))], capture_output=True, text=True, check=False
        )

    def stop(self) -> None:
        """SIGTERM to its first process, as who runs containers sends it."""
        os.kill(self.first(), signal.SIGTERM)

    def kill(self) -> None:
        """All of it at once; `--kill-child` does not reach who has changed its user."""
        if self.popen.poll() is None:
            os.kill(self.first(), signal.SIGKILL)
        self.popen.wait()

    def end(self, seconds: float = START_SECONDS) -> int:
        """Stop it where it runs; the exit code."""
        if self.popen.poll() is None:
            self.stop()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end in {seconds:g} s\n{self.log.read_text()[-4000:]}") from None

    def _restricted(self, command: list[str]) -> list[str]:
        who = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        nothing = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        variables = [*self.config["Env"], *self._environment]
        place = ["env", "--ignore-environment", f"--chdir={self.config['WorkingDir']}"]
        return ["/usr/bin/setpriv", *who, *nothing, *place, *variables, *command]
