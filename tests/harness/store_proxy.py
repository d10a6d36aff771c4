"""A door in front of an object store that cuts, slows down and falsifies what it sends."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 1 << 16
REFUSED = (
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: 57\r\n"
    b"connection: close\r\n\r\n"
    b"<Error><Code>InvalidAccessKeyId</Code><Message/></Error>\n"
)


class StoreProxy:
    """The door.

    Args:
        port: of the store.

    Attributes:
        cut_after: a connection is cut after so many bytes of answers; None: none is.
        falsify: so many pieces get one wrong bit, after the first MiB of a connection.
        hang: nothing is sent.
        refuse: whoever comes is told that the key is not known, and who is there asks in vain.
        bytes_per_second: of each connection; 0: as many as can be.
        sent: bytes of answers so far.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: int | None = None
        self.falsify = 0
        self.hang = False
        self.refuse = False
        self.bytes_per_second = 0
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nobody is let in any more, and what hangs is let go."""
        self.hang = False
        self.bytes_per_second = 0
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # whoever waits in accept() is let go
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.refuse:
                    client.recv(PIECE)
                    client.sendall(REFUSED)
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._forth, args=(client, server), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while (data := client.recv(PIECE)) and not self.refuse:
                server.sendall(data)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        sent = 0
        with suppress(OSError):
            while data := server.recv(PIECE):
                while self.hang:
                    time.sleep(0.01)
                if self.bytes_per_second:
                    time.sleep(len(data) / self.bytes_per_second)
                if self.falsify and sent > 1 << 20:
                    self.falsify -= 1
                    data = bytes([data[0] ^ 1]) + data[1:]
                if self.cut_after is not None and sent + len(data) > self.cut_after:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                sent += len(data)
                self.sent += len(data)
                client.sendall(data)


@contextmanager
def store_proxy(port: int) -> Iterator[StoreProxy]:
    """A door that is closed afterwards."""
    proxy = StoreProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
