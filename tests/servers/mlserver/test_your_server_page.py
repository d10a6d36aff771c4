"""The page on the server that you have is done as it is written: by two MLServers and a node."""

from harness.fences import beside, follow
from harness.model_servers import model_servers
from harness.pilot import Pilot
from harness.system import ROOT

PAGE = ROOT / "docs" / "migration" / "your-server.md"
PORTS = ("http://localhost:8080", "http://localhost:8081")


def test_every_command_of_the_page_does_what_it_says(node, tmp_path):
    with model_servers(tmp_path, ("mlserver", False), ("mlserver", False)) as servers:
        reader = beside(node, tmp_path)
        reader.replace = reader.replace | dict(zip(PORTS, (each.url for each in servers), strict=True))
        reader.replace = reader.replace | {
            "ask 8080": f"ask {servers[0].port}",
            "ask 8000": f"ask {node.port}",
        }
        pilot = Pilot(node, "flowers")
        try:
            assert follow(PAGE, reader, 60.0, pilot.ready) == 5
            assert {each["sha256"] for each in pilot.view["targets"]} == {"unpinned"}
        finally:
            node.admin.delete("/v1/rollouts/flowers")
