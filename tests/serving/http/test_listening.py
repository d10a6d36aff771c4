"""Whoever connects is accepted, however long the turns of the event loop are."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from graphs import endless_loop

from harness.system import Serve, eventually
from serving.host.sockets import listen, turn_newcomers_away, welcome_newcomers
from serving.http.listening import ListeningServer
from serving.http.server import LINGER_SECONDS

CLIENTS = 30


async def application(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("late", [False, True])
def test_who_waits_is_accepted_in_one_go_once_the_loop_is_late(late):
    config = uvicorn.Config(application, loop="uvloop", lifespan="off", log_config=None)

    async def main():
        server = ListeningServer(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        listener = listen("127.0.0.1", 0)
        await server.startup([listener])
        port = listener.getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(CLIENTS)]
        if late:
            server.accept_waiting()
        for _ in range(CLIENTS // 2):
            await asyncio.sleep(0)
        accepted = len(server.server_state.connections)
        async with asyncio.timeout(60):
            while len(server.server_state.connections) < CLIENTS:  # noqa: ASYNC110  (turns are what counts)
                await asyncio.sleep(0)
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for client in clients:
            client.setblocking(False)
            assert (await asyncio.get_running_loop().sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
        server.accept_no_more()
        await asyncio.sleep(0)
        server.accept_waiting()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 10).close()
        for client in clients:
            client.close()
        await server.shutdown([listener])
        return accepted

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        accepted = runner.run(main())
    assert accepted == CLIENTS if late else accepted < CLIENTS


def connects(port: int, seconds: float) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), seconds).close()
    except TimeoutError:
        return False
    return True


def test_newcomers_are_turned_away_and_those_that_connected_are_not():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 10) as waiting:
            turn_newcomers_away(listener)
            assert not connects(port, 0.3)
            accepted, _ = listener.accept()
            with accepted:
                waiting.sendall(b"asked")
                assert accepted.recv(10) == b"asked"
                accepted.sendall(b"answered")
                assert waiting.recv(10) == b"answered"
        welcome_newcomers(listener)
        assert connects(port, 10)
        welcome_newcomers(listener)  # without a filter


def test_a_door_that_two_processes_hold_closes_and_resets_nobody():
    """Clients connect as fast as they can meanwhile: each is answered, or refused before it connected."""
    config = uvicorn.Config(application, loop="uvloop", lifespan="off", log_config=None)
    told: list[str] = []

    def client(port: int) -> None:
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), 10)
            except ConnectionRefusedError:
                return
            with connection:
                try:
                    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    told.append("answered" if connection.recv(1000) else "closed")
                except ConnectionResetError:
                    told.append("reset")

    async def main() -> None:
        server = ListeningServer(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        listener = listen("127.0.0.1", 0)
        neighbour = listener.dup()
        await server.startup([listener])
        clients = [threading.Thread(target=client, args=listener.getsockname()[1:]) for _ in range(8)]
        for thread in clients:
            thread.start()
        async with asyncio.timeout(30):
            while len(told) < 200:  # noqa: ASYNC110  (other threads tell)
                await asyncio.sleep(0.01)
            server.turn_newcomers_away()
            await asyncio.sleep(LINGER_SECONDS)
            server.accept_waiting()
            server.accept_no_more()
            await asyncio.sleep(0.1)  # the neighbour is a little later
            neighbour.close()
            await asyncio.to_thread(lambda: [thread.join() for thread in clients])
        await server.shutdown([listener])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
    assert set(told) == {"answered"}


def test_a_server_that_is_told_to_end_while_it_loads_its_models_ends(tmp_path):
    version = tmp_path / "models" / "loop" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(endless_loop())
    (version.parent / "config.yaml").write_text("check: {time: 1s}")
    serve = Serve(tmp_path, tmp_path / "models")
    threads = Path(f"/proc/{serve.process.popen.pid}/task")
    eventually(lambda: any(file.read_text() for file in threads.glob("*/children")), "the model is tried")
    assert serve.end() == 0
