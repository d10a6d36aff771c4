"""Envoy as the tests of this folder want it."""

import contextlib
import json
import subprocess

import httpx
import pytest

from harness.system import ROOT, eventually, free_port

BINARY = ROOT / "build/servers/envoy/lib/python3.11/site-packages/envoy/_bin/envoy"
_TYPE = "type.googleapis.com/envoy.extensions"


def listener(port, filters, cluster, tls=None, **route):
    """A door of Envoy in front of a cluster."""
    connections = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, **route}}],
                }
            ]
        },
        "http_filters": [*filters, _typed("router", "filters.http.router.v3.Router")],
    }
    chain = {"filters": [{"name": "http", "typed_config": connections}]}
    return {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain | ({} if tls is None else {"transport_socket": tls})],
    }


def _typed(name, kind, **more):
    return {"name": name, "typed_config": {"@type": f"{_TYPE}.{kind}", **more}}


def only_with(token):
    """A filter that refuses what does not carry the token."""
    header = {"name": "authorization", "string_match": {"exact": f"Bearer {token}"}}
    policy = {"permissions": [{"any": True}], "principals": [{"header": header}]}
    return _typed("rbac", "filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": {"us": policy}})


def of_authority(certificate, key, ca):
    """TLS with a certificate, for those alone who show one of the authority."""
    common = {
        "tls_certificates": [
            {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
        ],
        "validation_context": {"trusted_ca": {"filename": str(ca)}},
    }
    kind = "transport_sockets.tls.v3.DownstreamTlsContext"
    return _typed("tls", kind, common_tls_context=common, require_client_certificate=True)


def cluster(name, *ports):
    """Where a door leads."""
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


@pytest.fixture
def envoy(tmp_path):
    """Starts an Envoy with these doors and clusters; its statistics by name."""
    with contextlib.ExitStack() as stack:

        def start(listeners, clusters):
            admin = free_port()
            address = {"socket_address": {"address": "127.0.0.1", "port_value": admin}}
            static = {"listeners": listeners, "clusters": clusters}
            config = tmp_path / f"envoy-{admin}.json"
            config.write_text(json.dumps({"admin": {"address": address}, "static_resources": static}))
            assert BINARY.exists(), f"{BINARY} is not there: `make test-servers` installs it"
            options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
            with (tmp_path / f"envoy-{admin}.log").open("wb") as log:
                process = subprocess.Popen([BINARY, "-c", config, *options], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)

            def ready():
                assert process.poll() is None, (tmp_path / f"envoy-{admin}.log").read_text()[-3000:]
                return httpx.get(f"http://127.0.0.1:{admin}/ready", trust_env=False).status_code == 200

            eventually(ready, "Envoy is ready")

            def statistic(name):
                url = f"http://127.0.0.1:{admin}/stats?format=json"
                found = httpx.get(url, trust_env=False).json()["stats"]
                return next((each["value"] for each in found if each.get("name") == name), 0)

            return statistic

        yield start
