"""`python tests/harness/exchanges.py OUT`: records what real processes say to each other by `/v1/sync`.

A control, a node with two workers, sandboxes of a canary and of a shadow, and between them a relay that
writes down every exchange. Which release speaks is PYTHONPATH's choice: with that of an older tree (and of
its `tests`) in front, its processes are recorded, for tests of mixed fleets (`tests/router/wire/recorded`).
"""

import asyncio
import itertools
import random
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson

from harness.control import Control, Node, controlling
from harness.system import eventually, free_port

SECONDS = 20
KEPT = 4
"""Exchanges of each kind of process: the first two and the last two."""

CANARY = {
    "model": "digits/2",
    "weight": 30,
    "mirror": 100,
}
DIGITS = {
    "stable": "digits/1",
    "canary": CANARY,
    "shadows": [{"model": "digits/3", "sample": 50}],
    "sticky": {"header": "x-user"},
    "compare": {"probabilities": {"atol": 0.001}},
    "guards": {
        "errors": {"maxRatio": 2, "max": 0.05},
        "latency": {"maxRatio": 3, "mode": "observe"},
        "agreement": [
            {"output": "label", "min": 0.5, "mode": "observe"},
            {"output": "probabilities", "min": 0.5, "mode": "observe", "per": "1s"},
        ],
    },
    "examples": {"inputs": True, "redact": ["probabilities"]},
}
STEPS = {**DIGITS, "canary": {"model": "digits/2", "mirror": 50, "steps": [{"setWeight": 60}, {"pause": {}}]}}


class Relay:
    """Passes everything on to control, and writes down the exchanges."""

    def __init__(self, control: str) -> None:
        self.exchanges: list[dict[str, Any]] = []
        self._client = httpx.AsyncClient(base_url=control, timeout=40.0, trust_env=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a process."""
        with suppress(asyncio.IncompleteReadError, ConnectionError, httpx.HTTPError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                headers = {"content-type": "application/json"}
                answer = await self._client.post("/v1/sync", content=body, headers=headers)
                said = {"report": orjson.loads(body), "status": answer.status_code}
                self.exchanges.append({**said, "answer": orjson.loads(answer.content)})
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b"
                    % (answer.status_code, len(answer.content), answer.content)
                )
        writer.close()


def chosen(exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few of each kind of process and candidate, in their order."""
    by_kind: dict[tuple[str, ...], list[int]] = {}
    for index, each in enumerate(exchanges):
        report = each["report"]
        kind = report["kind"], str(report.get("candidate"))
        by_kind.setdefault(kind, []).append(index)
    kept = {index for found in by_kind.values() for index in (*found[: KEPT // 2], *found[-KEPT // 2 :])} | {
        index for index, each in enumerate(exchanges) if each["answer"].get("snapshot")
    }
    kept = {index for index in kept if exchanges[index]["report"].get("draining") is not None}
    return [exchanges[index] for index in sorted(kept)]


async def drive(node: Node, control: Control) -> None:
    """Requests of users, some of which cannot be answered; in the middle the document is edited."""
    body = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
    chance = random.Random(4)
    async with httpx.AsyncClient(base_url=node.url, timeout=10.0, trust_env=False) as client:
        loop = asyncio.get_running_loop()
        ends, edited = loop.time() + SECONDS, False
        for number in itertools.count():
            body["inputs"][0]["data"] = [float(chance.randrange(16)) for _ in range(64)]
            headers = {"x-user": f"u{number % 40}"} if number % 3 else {}
            await client.post("/v2/models/digits/infer", json=body, headers=headers)
            if not edited and ends - loop.time() < SECONDS / 2:
                edited = True
                (await asyncio.to_thread(control.put, "digits", STEPS)).raise_for_status()
            if loop.time() > ends:
                return
            await asyncio.sleep(0.01)


async def record(folder: Path, control: Control) -> list[dict[str, Any]]:
    """Every exchange while a node serves."""
    relay, port = Relay(control.url), free_port()
    server = await asyncio.start_server(relay.serve, "127.0.0.1", port)
    direct, control.url = control.url, f"http://127.0.0.1:{port}"
    node = Node(folder, control, workers=2)
    control.url = direct
    try:
        await asyncio.to_thread(eventually, lambda: ready(node, control), "all is ready", 120.0)
        await drive(node, control)
    finally:
        await asyncio.to_thread(node.process.end)
        server.close()
    return relay.exchanges


def ready(node: Node, control: Control) -> bool:
    """Whether every target is ready somewhere."""
    targets = control.view("digits")["targets"]
    return node.client.get("/v2/health/ready").status_code == 200 and all(
        target["ready"] and all(target["ready"].values()) for target in targets
    )


def used(schemas: dict[str, Any], name: str, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """A schema, and those that it refers to."""
    found = {} if found is None else found
    if name not in found:
        found[name] = schemas[name]
        for other in re.findall(r"#/components/schemas/(\w+)", orjson.dumps(schemas[name]).decode()):
            used(schemas, other, found)
    return found


def main() -> None:
    """Record, and write what was chosen."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with controlling(folder) as control:
            control.put("digits", DIGITS).raise_for_status()
            control.put("iris", {"stable": "iris/1"}).raise_for_status()
            exchanges = asyncio.run(record(folder, control))
            described = control.client.get("/openapi.json").json()
    import understudy

    tree = Path(understudy.__file__).parents[1]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.strip()
    schemas = described["components"]["schemas"]
    components = {"schemas": used(schemas, "SyncReport" if "SyncReport" in schemas else "Report")}
    found = {"commit": commit, "exchanges": chosen(exchanges), "components": components}
    out.write_bytes(orjson.dumps(found) + b"\n")
    print(f"{commit}: {len(exchanges)} exchanges, {len(found['exchanges'])} kept in {out}")


if __name__ == "__main__":
    main()
