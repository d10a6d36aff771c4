"""The image, built once from this checkout by deploy/image/build.py."""

import sys

import pytest

from harness.system import ROOT

sys.path.insert(0, str(ROOT / "deploy" / "image"))

import build

WHY_NOT = build.missing()


@pytest.fixture(scope="session")
def builder():
    """The module that builds images; what it built is removed afterwards."""
    if WHY_NOT:
        pytest.skip(f"no image is built: {WHY_NOT}")
    yield build
    build.discard()


@pytest.fixture(scope="session")
def image(builder):
    """The image of this checkout."""
    return builder.build()
