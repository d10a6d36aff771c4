"""The policy that our manifests are checked by finds what it is to find."""

import copy

import pytest

from harness.pod_security import beyond, quantity, violations

GOOD = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "one",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {
                "requests": {"cpu": "100m", "memory": "1Gi"},
                "limits": {"cpu": 1, "memory": "2Gi"},
            },
            "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}
FORBIDDEN = {
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "securityContext.runAsNonRoot": False,
    "securityContext.runAsUser": 0,
    "securityContext.seccompProfile.type": "Unconfined",
    "securityContext.seccompProfile": None,
    "securityContext.sysctls": [{"name": "kernel.msgmax", "value": "1"}],
    "securityContext.windowsOptions": {"hostProcess": True},
    "securityContext.appArmorProfile": {"type": "Unconfined"},
    "securityContext.seLinuxOptions": {"user": "root"},
    "containers.0.securityContext.allowPrivilegeEscalation": None,
    "containers.0.securityContext.privileged": True,
    "containers.0.securityContext.procMount": "Unmasked",
    "containers.0.securityContext.runAsUser": 0,
    "containers.0.securityContext.runAsNonRoot": False,
    "containers.0.securityContext.capabilities": None,
    "containers.0.securityContext.capabilities.add": ["SYS_ADMIN"],
    "containers.0.ports": [{"containerPort": 80, "hostPort": 80}],
    "containers.0.livenessProbe.httpGet.host": "example.org",
    "containers.0.lifecycle": {"preStop": {"tcpSocket": {"host": "example.org", "port": 1}}},
    "volumes.0.hostPath": {"path": "/"},
    "volumes.0.nfs": {"server": "x", "path": "/"},
}
UNWANTED = {
    "enableServiceLinks": None,
    "automountServiceAccountToken": None,
    "containers.0.securityContext.readOnlyRootFilesystem": False,
    "containers.0.resources.requests": None,
    "containers.0.resources.limits": None,
    "containers.0.resources.requests.memory": "3Gi",
    "containers.0.resources.requests.cpu": "1500m",
}


def changed(path, value):
    """The good pod with one thing changed; None takes it out."""
    pod = copy.deepcopy(GOOD)
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    place = pod
    for step in way:
        place = place[step]
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return pod


def test_a_pod_that_keeps_the_standard_is_admitted():
    assert violations(GOOD) == beyond(GOOD) == []


@pytest.mark.parametrize("path", FORBIDDEN)
def test_what_restricted_forbids_is_found(path):
    assert len(violations(changed(path, FORBIDDEN[path]))) == 1


@pytest.mark.parametrize("path", UNWANTED)
def test_what_we_do_not_want_is_found(path):
    assert len(beyond(changed(path, UNWANTED[path]))) == 1


@pytest.mark.parametrize(("text", "number"), [("100m", 0.1), (2, 2.0), ("1.5Gi", 1.5 * 2**30), ("20G", 2e10)])
def test_quantities_are_read(text, number):
    assert quantity(text) == pytest.approx(number)
