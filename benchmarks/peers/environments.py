"""A virtual environment for each peer, under .understudy/bench, from the pins in requirements/."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.tools.bench import ROOT

HOME = ROOT / ".understudy" / "bench"
PINS = Path(__file__).parent / "requirements"
INSTALL_SECONDS = 900


class NotInstalledError(Exception):
    """A peer whose packages could not be had; the message says why, as it goes into the table."""


def install(name: str) -> Path:
    """The environment of this name, made anew unless it is there with the very pins; returns its folder.

    Raises:
        NotInstalledError: pip failed, or took too long.
    """
    folder, pins = HOME / name, PINS / f"{name}.txt"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / ".pins"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"installing {name} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv = [sys.executable, "-m", "venv", str(folder)]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)]
    try:
        for command in (venv, pip):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "ERROR" in line] or [str(error)]
        raise NotInstalledError(f"not installed: {lines[0][:200]}") from None
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not installed within {INSTALL_SECONDS} s") from None
    stamp.write_text(wanted)
    return folder


def pinned(name: str, package: str) -> str:
    """The version of a package in the pins."""
    for line in (PINS / f"{name}.txt").read_text().splitlines():
        found, _, version = line.partition("==")
        if found.lower().replace("_", "-") == package:
            return version
    raise KeyError(f"{package} is not pinned in {name}.txt")


def packages(folder: Path) -> Path:
    """Where an environment keeps its packages."""
    return next((folder / "lib").glob("python3*")) / "site-packages"
