"""The Pod Security Standards of Kubernetes at their level "restricted", and what we ask beyond them.

Source: "Pod Security Standards" in the documentation of Kubernetes, as of version 1.34. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

VOLUMES: Final = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
SECCOMP: Final = frozenset({"RuntimeDefault", "Localhost"})
SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
SELINUX: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_UNITS: Final[Mapping[str, float]] = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip

Pod = Mapping[str, Any]


def violations(pod: Pod) -> list[str]:
    """What of a pod's spec "restricted" forbids; none where it would be admitted."""
    found = [*_of_the_pod(pod), *_of_security("pod", pod.get("securityContext", {}))]
    for container in containers(pod):
        found += _of_container(container, pod.get("securityContext", {}))
    return found


def beyond(pod: Pod) -> list[str]:
    """What we ask of our own pods beyond the standard."""
    found = [] if pod.get("automountServiceAccountToken") is False else ["a token of Kubernetes is mounted"]
    if pod.get("enableServiceLinks") is not False:
        found.append("names of Services become variables, as UNDERSTUDY_PORT")
    for container in containers(pod):
        name, security = container["name"], container.get("securityContext", {})
        if security.get("readOnlyRootFilesystem") is not True:
            found.append(f"{name}: its root file system can be written")
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not {"cpu", "memory"} <= set(requests) or "memory" not in limits:
            found.append(f"{name}: requests of CPU and memory and a limit of memory are needed")
        found += [
            f"{name}: more {kind} is requested than allowed"
            for kind in set(requests) & set(limits)
            if quantity(requests[kind]) > quantity(limits[kind])
        ]
    return found


def containers(pod: Pod) -> Sequence[Mapping[str, Any]]:
    """All containers of a pod."""
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return [container for kind in kinds for container in pod.get(kind, ())]


def quantity(text: object) -> float:
    """A quantity of Kubernetes as a number, of CPUs or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def _of_the_pod(pod: Pod) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"pod: {name}"
    for volume in pod.get("volumes", ()):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    for sysctl in pod.get("securityContext", {}).get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"pod: sysctl {sysctl['name']}"


def _of_security(where: str, security: Mapping[str, Any]) -> Iterator[str]:
    """What is forbidden in the security context of a pod as in that of a container."""
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield f"{where}: hostProcess"
    if security.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{where}: AppArmor is unconfined"
    options = security.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
        yield f"{where}: seLinuxOptions"
    if security.get("runAsUser") == 0:
        yield f"{where}: runAsUser is 0"
    if security.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{where}: seccomp is unconfined"


def _of_container(container: Mapping[str, Any], of_pod: Mapping[str, Any]) -> Iterator[str]:
    name, security = container["name"], container.get("securityContext", {})
    yield from _of_security(name, security)
    if security.get("privileged"):
        yield f"{name}: privileged"
    if security.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    if security.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot is not true"
    if not (security.get("seccompProfile") or of_pod.get("seccompProfile")):
        yield f"{name}: no seccompProfile"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield f"{name}: capabilities are not dropped"
    if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield f"{name}: hostPort"
    yield from _of_probes(container)


def _of_probes(container: Mapping[str, Any]) -> Iterator[str]:
    """Handlers that would have the kubelet connect to another host."""
    hooks = container.get("lifecycle", {})
    handlers = [value for key, value in container.items() if key.endswith("Probe")]
    for handler in [*handlers, *hooks.values()]:
        if any(handler.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield f"{container['name']}: a probe or hook names a host"
