"""MLflow's REST API, as far as models, their versions, aliases, runs and artifacts go; blocking.

Source: mlflow.org/docs/latest/rest-api.html and, for the proxy of artifacts, `mlflow-artifacts` of the same
server. Credentials come from the environment that MLflow's own client reads: `MLFLOW_TRACKING_TOKEN`, or
`MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`; `MLFLOW_TRACKING_SERVER_CERT_PATH` names the
certificates to trust. They are sent to that server alone, as no redirect is followed, and are in no text.

Law: a call ends in time, whatever the server does; and what it answers is bounded and checked before it is
believed. Several threads may share a `Registry`.
"""

import base64
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
import orjson

from serving.errors import Conflict, Forbidden, InvalidInput, NotFound, ServingError
from serving.sources.remote import Away

CONNECT_SECONDS = 5.0
CALL_SECONDS = 30.0
"""Of one call, all of its answer included; of a download, the longest that nothing may arrive."""
MAX_ANSWER_BYTES = 16 << 20
PAGE, MAX_PAGES = 1000, 1000

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A name of the registry.

    Attributes:
        aliases: version by alias.
    """

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model; what the server does not say is empty.

    Attributes:
        source: where it was logged to, as whoever registered it said.
        created: in seconds since 1970; 0 where unknown.
        ready: False while it is being registered, and where that failed.
    """

    name: str
    version: str
    source: str = ""
    run_id: str = ""
    user: str = ""
    created: float = 0.0
    ready: bool = True
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that a run says it had."""

    name: str
    digest: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of an experiment; `started` in seconds since 1970, 0 where unknown."""

    id: str
    name: str = ""
    experiment: str = ""
    user: str = ""
    started: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or folder below a folder of artifacts; `path` is relative to it, `size` in bytes."""

    path: str
    size: int = 0
    folder: bool = False


class Registry:
    """An MLflow server.

    Args:
        url: `http(s)://host[:port][/prefix]`, with or without `mlflow+` before it; without credentials.
        seconds: of one call.
        environ: where credentials are; the environment of this process if None.

    Attributes:
        url: of the server, `http(s)://...`.

    Raises:
        InvalidInput: the URL, or what the environment says, cannot be used.
    """

    def __init__(
        self, url: str, *, seconds: float = CALL_SECONDS, environ: Mapping[str, str] | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self.url = _server(url)
        self._seconds = seconds
        self._client = httpx.Client(
            base_url=self.url,
            headers=_credentials(environ) | {"user-agent": "understudy"},
            verify=_trusted(self.url, environ),
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # -------------------------------------------------------------- models and versions

    def model(self, name: str) -> RegisteredModel:
        """A registered model, with its aliases.

        Raises:
            NotFound: there is none of that name.
            Away: the server cannot be asked (so of every method).
            Forbidden: the credentials are not enough (so of every method).
        """
        return _model(_part(self._get("registered-models/get", {"name": name}), "registered_model"))

    def versions(self, name: str = "") -> Iterator[ModelVersion]:
        """All versions of a model, or of all; aliases are not among what is said then.

        What came before an error stands.
        """
        search = {"filter": f"name={_quoted(name)}"} if name else {}
        yield from map(_version, self._pages("model-versions/search", "model_versions", search))

    def version(self, name: str, version: str) -> ModelVersion:
        """One version.

        Raises:
            NotFound: there is none.
        """
        found = self._get("model-versions/get", {"name": name, "version": version})
        return _version(_part(found, "model_version"))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version, whatever it named before.

        Raises:
            NotFound: there is no such model or version.
        """
        self._send("POST", "registered-models/alias", {"name": name, "alias": alias, "version": version})

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version, whatever it was before.

        Raises:
            NotFound: there is no such model or version.
        """
        tag = {"name": name, "version": version, "key": key, "value": value}
        self._send("POST", "model-versions/set-tag", tag)

    def run(self, run_id: str) -> Run:
        """A run, with its tags, parameters and data.

        Raises:
            NotFound: there is none.
        """
        return _run(_part(self._get("runs/get", {"run_id": run_id}), "run"))

    # -------------------------------------------------------------- artifacts

    def artifact_uri(self, name: str, version: str) -> str:
        """Where the artifacts of a version are: `mlflow-artifacts:/...` where the server passes them on.

        Raises:
            NotFound: there is no such version.
        """
        found = self._get("model-versions/get-download-uri", {"name": name, "version": version})
        return _text(found, "artifact_uri")

    def artifacts(self, uri: str) -> tuple[Artifact, ...]:
        """What is in a folder of artifacts that the server passes on, folders not opened.

        Raises:
            NotFound: there is no such folder.
            InvalidInput: the server does not pass on what is there (`proxied`).
        """
        path = self._proxied(uri)
        found = self._answer("GET", _ARTIFACTS, params={"path": path} if path else {})
        files = found.get("files", [])
        entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
        return tuple(
            Artifact(_text(entry, "path"), _whole(entry, "file_size"), entry.get("is_dir") is True)
            for entry in entries
        )

    def read(self, uri: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of an artifact that the server passes on, from a position on, in pieces.

        Where the server does not know ranges, what is before `start` is passed over. A server that ends
        early is not noticed here: whoever reads knows the size.

        Raises:
            NotFound: there is no such file.
            InvalidInput: the server does not pass on what is there.
            Away: as ever, or nothing came for a while.
        """
        place = f"{_ARTIFACTS}/{quote(self._proxied(uri))}"
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={start}-"} if start else {})
        try:
            with self._client.stream("GET", place, headers=headers) as answer:
                if answer.status_code == 416:  # nothing from there on
                    return
                if answer.status_code not in {200, 206}:
                    raise self._refused(answer.status_code, _capped(answer))
                skip = start if answer.status_code == 200 else 0
                for piece in answer.iter_bytes(_CHUNK_BYTES):
                    kept, skip = piece[skip:], max(0, skip - len(piece))
                    if kept:
                        yield kept
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def _proxied(self, uri: str) -> str:
        path = proxied(uri)
        if path is None:
            scheme = urlsplit(uri).scheme or "a folder of that machine"
            raise InvalidInput(
                f"{self.url} does not pass its artifacts on ({scheme}): start it with --serve-artifacts"
            )
        return path

    # -------------------------------------------------------------- calls

    def _pages(self, path: str, key: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        """All entries of a search."""
        token = ""
        for _ in range(MAX_PAGES):
            found = self._get(
                path, params | {"max_results": str(PAGE)} | ({"page_token": token} if token else {})
            )
            entries = found.get(key, [])
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise self._strange()
            yield from entries
            token = _text(found, "next_page_token")
            if not token:
                return
        raise Away(f"{self.url}: a search gave more than {PAGE * MAX_PAGES} entries")

    def _get(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        return self._answer("GET", _API + path, params=params)

    def _send(self, method: str, path: str, body: dict[str, str]) -> None:
        headers = {"content-type": "application/json"}
        self._answer(method, _API + path, content=orjson.dumps(body), headers=headers)

    def _answer(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """One call, the whole of it within its time."""
        until = time.monotonic() + self._seconds
        try:
            with self._client.stream(method, path, **how) as answer:
                body = _capped(answer, until)
        except httpx.HTTPError as error:
            raise self._away(error) from None
        if body is None:
            raise Away(
                f"{self.url} did not end its answer within {self._seconds:g} s and {MAX_ANSWER_BYTES} bytes"
            )
        if answer.status_code != 200:
            raise self._refused(answer.status_code, body)
        try:
            found = orjson.loads(body)
        except ValueError:
            raise self._strange() from None
        if not isinstance(found, dict):
            raise self._strange()
        return found

    def _away(self, error: httpx.HTTPError) -> Away:
        """Without the text of the error, which may name what was sent."""
        return Away(f"{self.url} does not answer ({type(error).__name__})")

    def _strange(self) -> Away:
        return Away(f"{self.url} does not answer as MLflow does")

    def _refused(self, status: int, body: bytes | None) -> ServingError:
        """What a status means; where it is about what was asked, in the server's own words."""
        if status == 401:
            return Away(
                f"{self.url} refuses the credentials (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN)"
            )
        said = _said(body)
        if status == 403:  # of one model or change, and in plain text where MLflow's own accounts say so
            return Forbidden(f"{self.url} forbids it to this account{f': {said}' if said else ''}")
        if said is None or status >= 500 or status in {408, 429} or 300 <= status < 400:
            return Away(f"{self.url} answers with status {status}")
        kinds = {404: NotFound, 409: Conflict}
        return kinds.get(status, InvalidInput)(f"{self.url}: {said}")


def proxied(uri: str) -> str | None:
    """The path under which the server passes an artifact on; None for what it does not.

    Args:
        uri: `mlflow-artifacts:/path` or `mlflow-artifacts://server/path`, or the URL of the proxy itself.
    """
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        path = parts.path
    elif parts.scheme in {"http", "https"} and f"{_ARTIFACTS}/" in parts.path:
        path = parts.path.split(f"{_ARTIFACTS}/", 1)[1]
    else:
        return None
    steps = [step for step in path.split("/") if step]
    return None if ".." in steps else "/".join(steps)


def _server(url: str) -> str:
    """The URL of a server as httpx takes it.

    Raises:
        InvalidInput: it is none, or holds credentials.
    """
    try:
        parts = urlsplit(url.removeprefix("mlflow+"))
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInput("the URL of an MLflow server is mlflow+http://host[:port] or mlflow+https://...")
    if "@" in parts.netloc:
        raise InvalidInput(
            "credentials do not belong in the URL of an MLflow server: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The header that says who asks; as MLflow's client, a name counts before a token."""
    user, password = environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"authorization": f"Basic {pair}"}
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    if not token:
        return {}
    if not token.isascii() or not token.isprintable():
        raise InvalidInput("MLFLOW_TRACKING_TOKEN holds what no header can: blanks at its end, or no ASCII")
    return {"authorization": f"Bearer {token}"}


def _trusted(url: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Certificates to trust: the system's, or those of a file; none are read where nothing is encrypted."""
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError as error:
        raise InvalidInput(
            f"MLFLOW_TRACKING_SERVER_CERT_PATH: {error.strerror or 'no certificates'}"
        ) from None


def _capped(answer: httpx.Response, until: float = float("inf")) -> bytes | None:
    """The body of an answer; None where it is too long, or takes longer than until then (monotonic)."""
    body = b""
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > until:
            return None
    return body


def _said(body: bytes | None) -> str | None:
    """The words of an error of MLflow, shortened; None where it is none."""
    try:
        said = orjson.loads(body or b"")
    except ValueError:
        return None
    return _text(said, "message")[:300] or _text(said, "error_code") if isinstance(said, dict) else None


def _quoted(name: str) -> str:
    """A name in a filter, whose grammar has two kinds of quotes and no escapes."""
    quotes = '"' if "'" in name else "'"
    if quotes in name:
        raise InvalidInput(f"a name with both kinds of quotes cannot be searched for: {name[:100]!r}")
    return quotes + name + quotes


# ------------------------------------------------------------------ what answers hold


def _part(found: dict[str, Any], key: str) -> dict[str, Any]:
    part = found.get(key, {})
    return part if isinstance(part, dict) else {}


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _whole(found: dict[str, Any], key: str) -> int:
    """Whole numbers of 64 bits come as texts from some servers (protobuf's JSON)."""
    text = _text(found, key)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _pairs(found: dict[str, Any], key: str, name: str = "key", value: str = "value") -> dict[str, str]:
    entries = found.get(key, [])
    if not isinstance(entries, list):
        return {}
    return {_text(entry, name): _text(entry, value) for entry in entries if isinstance(entry, dict)}


def _model(found: dict[str, Any]) -> RegisteredModel:
    aliases = _pairs(found, "aliases", "alias", "version")
    return RegisteredModel(_text(found, "name"), aliases, _pairs(found, "tags"), _text(found, "description"))


def _version(found: dict[str, Any]) -> ModelVersion:
    aliases = found.get("aliases", [])
    return ModelVersion(
        _text(found, "name"),
        _text(found, "version"),
        _text(found, "source"),
        _text(found, "run_id"),
        _text(found, "user_id"),
        _whole(found, "creation_timestamp") / 1000,
        _text(found, "status") in {"", "READY"},
        _text(found, "description"),
        tuple(alias for alias in aliases if isinstance(alias, str)) if isinstance(aliases, list) else (),
        _pairs(found, "tags"),
    )


def _run(found: dict[str, Any]) -> Run:
    info, data, inputs = _part(found, "info"), _part(found, "data"), _part(found, "inputs")
    tags = _pairs(data, "tags")
    used = inputs.get("dataset_inputs", [])
    entries = (
        [_part(entry, "dataset") for entry in used if isinstance(entry, dict)]
        if isinstance(used, list)
        else []
    )
    return Run(
        _text(info, "run_id"),
        _text(info, "run_name"),
        _text(info, "experiment_id"),
        _text(info, "user_id") or tags.get("mlflow.user", ""),
        _whole(info, "start_time") / 1000,
        tags,
        _pairs(data, "params"),
        tuple(Dataset(_text(one, "name"), _text(one, "digest"), _text(one, "source")) for one in entries),
    )
