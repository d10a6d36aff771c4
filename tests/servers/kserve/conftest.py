"""One server of each kind for the tests of this folder, and a wrong one."""

import pytest

from harness.model_servers import flowers_onnx, model_servers
from harness.system import serving


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """By name; `ours` is `understudy serve`."""
    folder = tmp_path_factory.mktemp("servers")
    flowers_onnx(folder / "models")
    wanted = (("mlserver", False), ("kserve", False), ("kserve", True))
    with (
        model_servers(folder, *wanted) as [mlserver, kserve, wrong],
        serving(folder, models=folder / "models") as ours,
    ):
        yield {"mlserver": mlserver, "kserve": kserve, "wrong": wrong, "ours": ours}
