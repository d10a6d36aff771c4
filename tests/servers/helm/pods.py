"""Runs the container of a rendered pod as a process here: its mounts are folders, its ports free ones."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.system import MODELS, Process, free_port

Files = Mapping[str, Mapping[str, str]]


PORTS: Final = {"admin": "--admin-port", "http": "--port", "metrics": "--metrics-port"}


class Pod:
    """One pod of a rendered workload.

    Args:
        workload: a Deployment or StatefulSet.
        folder: its volumes are made below it.
        files: the texts of Secrets and ConfigMaps, by their name and key.
        hosts: what to connect to in place of names that only a cluster knows.
    """

    def __init__(
        self, workload: Mapping[str, Any], folder: Path, files: Files, hosts: Mapping[str, str]
    ) -> None:
        self.spec = workload["spec"]["template"]["spec"]
        [self.container] = self.spec["containers"]
        self._folder, self._files, self._hosts = folder, files, hosts
        self._templates = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"]: self._volume(volume) for volume in self.spec["volumes"]}
        for template in self._templates:
            volumes[template["metadata"]["name"]] = self._empty(template["metadata"]["name"])
        mounts = self.container["volumeMounts"]
        self.places = {m["mountPath"]: volumes[m["name"]] / m.get("subPath", "") for m in mounts}
        self.ports = {port["name"]: free_port() for port in self.container["ports"]}
        self.process = Process(self._arguments(), folder, self._environment())

    def url(self, port: str) -> str:
        """Where a port of the container answers."""
        probe = self.container["readinessProbe"]["httpGet"]
        scheme = probe["scheme"].lower() if probe["port"] == port else "http"
        return f"{scheme}://localhost:{self.ports[port]}"

    def probe(self, kind: str) -> str:
        """What a probe asks for."""
        asked = self.container[kind]["httpGet"]
        return self.url(asked["port"]) + str(asked["path"])

    def _empty(self, name: str) -> Path:
        path = self._folder / name
        path.mkdir(mode=0o700)
        return path

    def _volume(self, volume: Mapping[str, Any]) -> Path:
        if volume["name"] == "models":
            return MODELS
        path = self._empty(volume["name"])
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "secret" in source:
                name = source["secret"].get("secretName") or source["secret"]["name"]
                self._write(path, name, source["secret"].get("items"))
            if "configMap" in source:
                self._write(path, source["configMap"]["name"], None)
        return path

    def _write(self, path: Path, name: str, items: list[Mapping[str, str]] | None) -> None:
        there = self._files[name]
        for key, target in (
            [(i["key"], i["path"]) for i in items] if items else zip(there, there, strict=True)
        ):
            (path / target).write_text(there[key])

    def _arguments(self) -> list[str]:
        options = [f"{PORTS[name]}={port}" for name, port in self.ports.items()]
        return [*(self._here(argument) for argument in self.container["args"]), *options]

    def _here(self, text: str) -> str:
        for place, path in self.places.items():
            if f"{text}/".startswith(f"{place}/"):
                return f"{path}{text.removeprefix(place)}"
        return self._hosts.get(text, text)

    def _environment(self) -> dict[str, str]:
        """Of the container and its image; secrets, which the product reads in /run/secrets, as variables."""
        given = {entry["name"]: entry.get("value", "a-pod") for entry in self.container.get("env", ())}
        secrets = {
            Path(place).name.upper(): path.read_text()
            for place, path in self.places.items()
            if place.startswith("/run/secrets/")
        }
        return {**given, **secrets, "UNDERSTUDY_STATE_DIR": str(self.places["/state"])}

    def end(self) -> int:
        """End it as the kubelet does: the exit code, or an error where the grace period is not enough."""
        try:
            return self.process.end(self.spec["terminationGracePeriodSeconds"])
        finally:
            shutil.rmtree(self.places["/tmp"], ignore_errors=True)
