"""One process with a gRPC door: its port, certificate, health, and an orderly end.

After SIGTERM the process says that it is not ready, answers for `drain_seconds` more, takes no new calls
then, and finishes what is under way within `grace_seconds`.

Several processes share the port (SO_REUSEPORT): the kernel spreads connections among them. gRPC opens its
socket itself, so who has connected to a process that is killed connects again; clients of gRPC do so by
themselves.
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import structlog
import uvloop
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.admission.tls import Certificate
from serving.grpc.door import Door
from serving.grpc.messages import POOL, SERVICE
from serving.host.ending import ending
from serving.host.heartbeat import BEAT_SECONDS, Heart
from serving.host.memory import keep_freed_memory
from serving.host.process import told_to_end
from serving.http.app import Service
from serving.http.public_door import Doorkeeper
from serving.settings import ServingSettings

METADATA_BYTES: Final = 16 * 1024
STREAMS_PER_CONNECTION: Final = 1_000
"""Clients send before they are told, so more than a burst of theirs: what is above is reset, not answered."""
LEAST_PING_SECONDS: Final = 10
PING_STRIKES: Final = 2
KEEPALIVE_SECONDS: Final = 60
"""After so long a silence a client with calls under way is asked whether it is there."""
KEEPALIVE_TIMEOUT_SECONDS: Final = 20

log = structlog.get_logger()


def run_grpc(service: Service, settings: ServingSettings, port: int, keeper: Doorkeeper, beat: Path) -> None:
    """Serve a gRPC door until told to end.

    Args:
        service: answers.
        settings: of limits and of the end.
        port: shared with the other processes that are told of it.
        keeper: of its keys, rates and certificate.
        beat: the file through which the supervisor sees that the event loop turns.

    Raises:
        SystemExit: the port cannot be opened.
    """
    keep_freed_memory()
    _say_nothing_of_clients()
    keeper.open(service)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(service, settings, port, keeper, beat))


async def _main(
    service: Service, settings: ServingSettings, port: int, keeper: Doorkeeper, beat: Path
) -> None:
    told = told_to_end()
    heart = Heart(beat)
    await service.start()
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.max_connections)
    max_streams = -(-settings.max_connections // 2)  # the other half is for calls, which end by themselves
    door = Door(service, max_streams)
    server.add_generic_rpc_handlers((door,))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=_described())
    _open(server, f"{_host(settings.host)}:{port}", keeper.certificate)
    await server.start()
    heart.door(is_open=True)
    log.info("gRPC door", port=port)
    tasks = [
        asyncio.create_task(work)
        for work in (
            heart.run(),
            keeper.run(service, lambda: None, lambda: door.streams / max_streams),
            _tell_health(healthy, service),
        )
    ]
    await told.wait()
    service.draining = True
    ending.set()
    await asyncio.sleep(settings.drain_seconds)
    heart.door(is_open=False)
    await server.stop(settings.grace_seconds)
    for task in tasks:
        task.cancel()
    await service.stop()


def _say_nothing_of_clients() -> None:
    """Keep out of the log what any client could fill it with: calls refused, or left by clients.

    What gRPC's core cannot do for us, it raises, too.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of gRPC's tells anything but that an answer had no client any more."""
    return record.exc_info is None or getattr(record.exc_info[0], "__name__", "") != "ExecuteBatchError"


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    """Source: grpc's include/grpc/impl/channel_arg_names.h."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        ("grpc.max_connection_idle_ms", round(settings.idle_seconds * 1000)),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_SECONDS * 1000),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
        (
            "grpc.compression_enabled_algorithms_bitset",
            1,
        ),  # none: what a small message inflates to has no bound
    ]


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _open(server: grpc.aio.Server, address: str, certificate: Certificate | None) -> None:
    try:
        if certificate is None:
            opened = server.add_insecure_port(address)
        else:
            opened = server.add_secure_port(address, _credentials(certificate))
    except RuntimeError as error:
        raise SystemExit(f"error: the gRPC door at {address} cannot be opened: {error}") from None
    if opened == 0:
        raise SystemExit(f"error: the gRPC door at {address} cannot be opened")


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Each handshake gets the certificate that was read last and found good."""
    taken = certificate.value

    def present() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(taken.key, taken.cert)])

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal taken
        if certificate.value is taken:
            return None
        taken = certificate.value
        return present()

    return grpc.dynamic_ssl_server_credentials(present(), changed)


async def _tell_health(healthy: health.aio.HealthServicer, service: Service) -> None:
    """Keep grpc.health.v1 true, for ever."""
    statuses = health_pb2.HealthCheckResponse
    while True:
        ready = not service.draining and service.ready()
        status = statuses.SERVING if ready else statuses.NOT_SERVING
        for name in ("", SERVICE):
            await healthy.set(name, status)
        await asyncio.sleep(BEAT_SECONDS)


def _described() -> DescriptorPool:
    """What reflection describes: the protocol, and the two services beside it."""
    for described in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        file = FileDescriptorProto()
        described.CopyToProto(file)
        POOL.Add(file)
    return POOL
