"""What the doors make of `cases`; `make http-table` writes it to docs/http.md."""

import contextlib
import re
import socket
import sys
import tempfile
from pathlib import Path

from cases import CASES, CLOSES, Case

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
DOORS = {
    "public": (b"/v2/models/digits/infer", b"/v2"),
    "admin": (b"/v1/rollouts/nobody/abort", b"/healthz"),
}
"""Door -> an endpoint that takes POST, and one that takes GET."""
_MARK = "<!-- table -->"


def ask(port: int, case: Case, door: str) -> list[int]:
    """The statuses that a door answers to a case; one that is `CLOSES` when it only closes."""
    wire, found = case.sent(*DOORS[door]), b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(wire)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                found += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ", found)] or [CLOSES]


def wrong(case: Case, statuses: list[int]) -> bool:
    """Whether these answers are not right for a case."""
    expected = 1 if statuses == [CLOSES] else case.answers
    return statuses[0] not in case.right or len(statuses) != expected


def row(case: Case, found: dict[str, list[int]]) -> str:
    """The case's line of the table."""
    right = " or ".join(_shown(status) for status in case.right)
    cells = [", ".join(_shown(status) for status in found[door]) for door in DOORS]
    what = case.what.replace("|", "\\|").replace("{get}", "/v2")
    return f"| {case.name} | {what} | {case.source} | {right} | {' | '.join(cells)} |"


def _shown(status: int) -> str:
    return "closed" if status == CLOSES else str(status)


def table(ports: dict[str, int]) -> str:
    """The table, as the doors behind these ports answer."""
    head = ["| id | sent | RFC | right | public door | admin door |", "|---|---|---|---|---|---|"]
    rows = [row(case, {door: ask(ports[door], case, door) for door in DOORS}) for case in CASES]
    return "\n".join(head + rows) + "\n"


def main() -> None:
    """Start a system and write the page's table anew."""
    from harness.system import running

    folder = Path(tempfile.mkdtemp())
    with running(folder, "digits: {stable: digits/1}\n") as up:
        text = table({"public": up.port, "admin": int(up.admin_url.rpartition(":")[2])})
    before, _, _ = PAGE.read_text().partition(_MARK)
    PAGE.write_text(f"{before}{_MARK}\n\n{text}")


if __name__ == "__main__":
    sys.exit(main())
