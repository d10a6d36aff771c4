"""Builds the image where there is neither Docker nor an image registry: `make image`.

Debian's mmdebstrap makes a base with Python 3.11, buildah carries the steps of the Dockerfile out on it in a
chroot. pip gets its wheels with the configuration that it has here, before. All of it is below build/image:
`base.tar`, once made, stays.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "image"
NAME: Final = "localhost/understudy"
BASE: Final = "localhost/debian-with-python"
LISTS: Final = ("requirements.txt", "requirements-build.txt", "deploy/image/requirements.txt")
SLIM: Final = (
    *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "info", "locale")),
    "path-include=/usr/share/doc/*/copyright",
)
"""As in the slim images of Debian; whoever publishes an image has to keep the notices of copyright."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was built.

    Attributes:
        root: its files, to be read only.
        config: what it says on how it is run, with Docker's words ("Entrypoint", "Env", "User").
    """

    root: Path
    config: dict[str, Any]


def missing() -> str:
    """Why no image can be built here; empty where one can."""
    programs = [
        name for name in ("mmdebstrap", "buildah", "unshare", "setpriv") if shutil.which(name) is None
    ]
    if programs:
        return f"no {', '.join(programs)} here; `apt-get install mmdebstrap buildah util-linux`"
    if os.geteuid() != 0:
        return "images are built by root here: a chroot asks for it"
    mounts = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return f"nothing may be mounted here: {mounts.stderr.decode().strip()}" if mounts.returncode else ""


def build(context: Path = ROOT) -> Image:
    """The image of a checkout."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _base()
    _wheels()
    (FOLDER / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    given = (
        "--secret",
        f"id=pip.conf,src={FOLDER / 'pip.conf'}",
        "--volume",
        f"{FOLDER / 'wheels'}:/wheels:ro",
    )
    return made(context, "--build-arg", f"BASE={BASE}", *given, name=NAME)


def made(context: Path, *options: str, name: str) -> Image:
    """What the Dockerfile of a folder, or that which the options name, makes of it."""
    # HEALTHCHECK is no part of OCI's format.
    how = ("--isolation", "chroot", "--format", "docker", "--pull-never")
    buildah("build", *how, *options, "--tag", name, str(context))
    container = buildah("from", "--pull-never", name)
    config = json.loads(buildah("inspect", container))["Docker"]["config"]
    return Image(Path(buildah("mount", container)), config)


def buildah(*arguments: str) -> str:
    """What it says; its storage is a folder of ours, and its driver one that works within containers, too."""
    places = ("--root", str(FOLDER / "storage"), "--runroot", str(FOLDER / "run"))
    done = subprocess.run(
        ["buildah", "--storage-driver", "vfs", *places, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def discard() -> None:
    """All containers and images; the base and the wheels stay."""
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")


def _base() -> None:
    tar = FOLDER / "base.tar"
    if not tar.exists():
        unfinished = FOLDER / "base.unfinished.tar"
        left_out = [f"--dpkgopt={option}" for option in SLIM]
        include = "--include=ca-certificates,python3,python3-venv"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", include, *left_out, "bookworm", str(unfinished)],
            check=True,
        )
        unfinished.replace(tar)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(tar), "/")
    buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, BASE)


def _wheels() -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    exactly = ["--require-hashes", "--only-binary=:all:", "--python-version=3.11"]
    for name in LISTS:  # each by itself: two may pin the same package
        where = [f"--dest={FOLDER / 'wheels'}", f"--requirement={ROOT / name}"]
        subprocess.run([*pip, *exactly, *where], check=True)


def main() -> None:
    """Build it, and write what it is made of to where people find it."""
    if why := missing():
        sys.exit(f"no image can be built: {why}")
    import weigh  # noqa: PLC0415  (it lies beside this file)

    image = build()
    shutil.copy(image.root / "opt/understudy/sbom.cdx.json", FOLDER)
    weigh.write(weigh.parts(image.root, FOLDER / "wheels"))
    print(f"{NAME} is in {FOLDER / 'storage'}, its parts in {FOLDER / 'sbom.cdx.json'} and docs/image.md")


if __name__ == "__main__":
    main()
