"""The router as a `Service`: the protocol's questions, answered from the table of routes."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from router.route_table import RouteTable
from router.settings import NodeSettings
from router.targets.targets import Target
from serving.admission.gate import Gate
from serving.errors import NotFound, Unavailable, Unsupported
from serving.http.endpoint import limits_of
from serving.models.scheduler import Scheduler
from serving.service import triton_config
from serving.telemetry.families import statistics
from serving.wire.handler import Handler
from serving.wire.tensors import Signature, spec_json


class RouterService:
    """What a router answers behind the protocol.

    Args:
        settings: limits of its door.
        table: who answers.
        folder: the metrics of all processes of the node.
    """

    name = "understudy"
    version = version("understudy")

    def __init__(self, settings: NodeSettings, table: RouteTable, folder: Path) -> None:
        self.limits = limits_of(settings)
        self.draining = False
        self.gate: Gate | None = None
        self.paths: dict[bytes, Handler] = {}
        self._table = table
        self._folder = folder
        table.swapped = self._swapped

    def _swapped(self) -> None:
        self.paths = self._table.paths  # an attribute: each request reads it

    def schedulers(self) -> Iterable[Scheduler]:
        """As `ModelsEndpoint`."""
        return self._table.schedulers()

    async def start(self) -> None:
        """Begin to settle counts."""
        self._table.start()

    async def stop(self) -> None:
        """Let go of everything."""
        await self._table.stop()

    def ready(self) -> bool:
        """Whether a snapshot is in force and each of its rollouts is answered by a stable target."""
        return (
            self._table.snapshot.revision > 0
            and self._table.routes.keys() >= self._table.snapshot.rollouts.keys()
        )

    def _find(self, model: str, number: str | None) -> Target:
        route = self._table.routes.get(model)
        if route is None:
            if model in self._table.snapshot.rollouts or self._table.snapshot.revision == 0:
                raise Unavailable(f"model {model!r} is not ready")
            raise NotFound(f"unknown model {model!r}")
        if number is None:
            return route.stable
        for target in route.targets:
            if target.model.rpartition("/")[2] == number:
                return target
        raise NotFound(f"model {model!r} has no version {number!r} here")

    def _signature(self, target: Target) -> Signature:
        signature = target.signature
        if signature is None:
            raise Unavailable(f"the signature of {target.key} is not known yet")
        return signature

    def metadata(self, model: str, number: str | None) -> dict[str, Any]:
        """Of the public name: the signature of stable, and the versions that answer just now."""
        signature = self._signature(self._find(model, number))
        versions = [number] if number is not None else self._versions(model)
        return {
            "name": model,
            "versions": versions,
            "platform": "onnxruntime_onnx",
            "inputs": [spec_json(spec) for spec in signature.inputs],
            "outputs": [spec_json(spec) for spec in signature.outputs],
        }

    def _versions(self, model: str) -> list[str]:
        targets = self._table.routes[model].targets
        return sorted({target.model.rpartition("/")[2] for target in targets}, key=int)

    def model_ready(self, model: str, number: str | None) -> bool:
        """Whether its target would take a request now."""
        if model in self._table.snapshot.rollouts and model not in self._table.routes:
            return False
        return not self._find(model, number).refusal(0.0)

    def config(self, model: str, number: str | None) -> dict[str, Any]:
        """Triton's model configuration, as far as it has a meaning here."""
        target = self._find(model, number)
        local = self._table.local_model(target.model)
        max_rows = 0 if local is None else local.max_rows
        return triton_config(model, self._signature(target), self._versions(model), max_rows)

    def statistics(self, model: str | None, number: str | None) -> list[dict[str, Any]]:
        """One entry a target that answers clients, over all workers of the node."""
        rows = []
        for name, route in self._table.routes.items():
            if model is not None and model != name:
                continue
            for target in {target.key: target for target in route.targets}.values():
                version_ = target.model.rpartition("/")[2]
                if number in (None, version_):
                    rows.append(
                        {"name": name, "version": version_, "last_inference": 0}
                        | statistics(self._folder, target.key)
                    )
        if model is not None and not rows:
            self._find(model, number)
        return rows

    async def index(self, *, ready_only: bool) -> list[dict[str, str]]:
        """The targets that clients can be answered by."""
        rows = []
        for model, served in sorted(self._table.snapshot.rollouts.items()):
            route = self._table.routes.get(model)
            live = () if route is None else route.targets
            answering = (target for role, target in served.roles() if role in {"stable", "canary"})
            for target in dict.fromkeys(answering):
                ready = any(each.key == target.key and not each.refusal(0.0) for each in live)
                if ready or not ready_only:
                    state = "READY" if ready else "UNAVAILABLE"
                    reason = "" if ready else self._table.problems.get(served.pin(target), "not ready")
                    rows.append({"name": model, "version": target.version, "state": state, "reason": reason})
        return rows

    async def load(self, model: str) -> None:
        """Refused: what is loaded follows from the rollouts."""
        raise Unsupported(f"model {model!r}: what is loaded here follows from the rollouts")

    async def unload(self, model: str) -> None:
        """Refused: what is loaded follows from the rollouts."""
        raise Unsupported(f"model {model!r}: what is loaded here follows from the rollouts")
