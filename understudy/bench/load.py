"""The generators as seen by the command: started, told a rate, heard, ended."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from understudy.bench.steps import Window, together


class GeneratorFailed(Exception):
    """A generator ended unasked."""


class Load:
    """Some generator processes that share a rate.

    Args:
        url: of the infer endpoint.
        headers: further ones, sent with each request.
        bodies: sent in turn.
        generators: how many processes.
        connections: most that are open at once, all generators together.
        timeout_seconds: of one request, and of opening a connection.
    """

    def __init__(
        self,
        url: str,
        headers: Sequence[tuple[str, str]],
        bodies: Sequence[bytes],
        *,
        generators: int,
        connections: int,
        timeout_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        plan = {
            "host": parts.hostname,
            "port": parts.port or (443 if tls else 80),
            "tls": tls,
            "requests": [_request(parts.path, parts.netloc, headers, body) for body in bodies],
            "connections": max(1, connections // generators),
            "timeout_seconds": timeout_seconds,
        }
        self._generators = [_Process(plan) for _ in range(generators)]

    def run(self, rate: float, seconds: float, heard: Callable[[], None]) -> list[Window]:
        """Send at this rate for so long; the windows in order, of about a second each.

        Args:
            rate: requests a second, all generators together.
            seconds: how long; requests under way then are waited for.
            heard: called for each window.

        Raises:
            GeneratorFailed: a generator ended.
        """
        share = rate / len(self._generators)
        for generator in self._generators:
            generator.tell({"rate": share, "seconds": seconds})
        windows: list[list[Window]] = []
        for generator in self._generators:
            for index, window in enumerate(generator.windows()):
                if index == len(windows):
                    windows.append([])
                    heard()
                windows[index].append(window)
        return [together(of_all, side_by_side=True) for of_all in windows]

    def end(self) -> None:
        """End the generators."""
        for generator in self._generators:
            generator.end()


class _Process:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "understudy.bench.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.tell(plan)

    def tell(self, line: dict[str, Any]) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise GeneratorFailed("a load generator ended") from None

    def windows(self) -> Iterator[Window]:
        assert self._popen.stdout is not None
        last = False
        while not last:
            line = self._popen.stdout.readline()
            if not line:
                raise GeneratorFailed("a load generator ended")
            shown = orjson.loads(line)
            last = shown["last"]
            yield Window.read(shown)

    def end(self) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        self._popen.terminate()
        self._popen.wait()
        self._popen.stdout.close()


def _request(path: str, host: str, headers: Sequence[tuple[str, str]], body: bytes) -> str:
    """The bytes of one request, as text that JSON can carry."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (("content-type", "application/json"), *headers)]
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode("latin-1")
