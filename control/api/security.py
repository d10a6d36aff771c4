"""Who may use the admin door: plain ASGI, in front of everything.

Law: without tokens the door is for this machine only: the Host header must name the loopback (so that a
page on the web cannot reach it by rebinding a name), and a changing request that a browser made must come
from the door's own origin. With tokens every request needs one: a viewer's reads, an operator's also
changes, and whoever has another role may approve where that is asked of it. To ask for a verdict is to
read, also by POST. A link for an approval carries what lets it in. `/healthz`, `/readyz` and `/readyz/lead`
need none, nor do the text of the page, which asks for the token, and `/docs`; nor does what is signed, where
a secret to verify it with is set: the path itself verifies it.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Collection
from hmac import compare_digest
from ipaddress import ip_address

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from control.notify.ways import secret_bytes
from control.people.file import People, load
from control.rollouts.state import OPERATOR
from control.settings import ControlSettings
from serving.admission.door_files import problem_of_files
from serving.admission.gate import peer
from serving.admission.guesses import Guesses
from serving.errors import ServingError

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/readyz/lead"})
LINKS = "/v1/approvals/"
_APPROVING = re.compile(r"/v1/rollouts/[^/]+/(approve|reject)")
_VERDICT = re.compile(r"/v1/rollouts/[^/]+/verdict")
"""A question, also by POST. Webhooks of Flagger carry a token only in their URL, which becomes a password."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether a host, as an address or as `localhost`, is this machine and reachable from it only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, and who knows where it leads tomorrow
        return False


def is_page(path: str) -> bool:
    """Whether it is a page, at `/` or `/docs`, or a file of one: static, without anything of this system."""
    return path in {"/", "/docs"} or path.startswith("/page/")


def refusal_to_start(admin_host: str, operator_token: str, viewer_token: str, *, people: bool = False) -> str:
    """Why a door with these settings must not open; empty when it may."""
    if operator_token:
        return ""
    if not is_loopback(admin_host):
        return "the admin door off loopback needs a token (UNDERSTUDY_TOKEN)"
    if people:
        return "a file of people's tokens needs UNDERSTUDY_TOKEN beside it, by which nodes come in"
    if viewer_token:
        return "a viewer's token needs an operator's beside it (UNDERSTUDY_TOKEN), or nobody could change"
    return ""


def problem_of_door(settings: ControlSettings) -> str:
    """Why the admin door must not or cannot open with these settings; empty when it can."""
    tokens = settings.token.get_secret_value(), settings.viewer_token.get_secret_value()
    refused = refusal_to_start(settings.admin_host, *tokens, people=settings.tokens is not None)
    return (
        refused
        or _problem_of_secrets(settings)
        or problem_of_files(settings.admin_tls_cert, settings.admin_tls_key)
    )


def _problem_of_secrets(settings: ControlSettings) -> str:
    try:
        secret_bytes(settings.hook_secret.get_secret_value())
        if settings.tokens is not None:
            load(settings.tokens)
    except ValueError:
        return "UNDERSTUDY_HOOK_SECRET: a secret that begins with whsec_ goes on in base64"
    except ServingError as error:
        return str(error)
    return ""


class Guard:
    """Lets through whom the law above allows.

    Args:
        app: what is guarded.
        operator_token: may change; empty for none.
        viewer_token: may read; empty for none.
        people: those with tokens of their own, as they are now.
        signed: paths to which one may POST without a token, since they verify a signature.
    """

    def __init__(
        self,
        app: ASGIApp,
        operator_token: str,
        viewer_token: str,
        people: Callable[[], People] = People,
        signed: Collection[str] = (),
    ) -> None:
        self._app = app
        self._signed = frozenset(signed)
        self._guesses = Guesses()
        self._tokens = [
            (token.encode(), role)
            for token, role in ((operator_token, "operator"), (viewer_token, "viewer"))
            if token
        ]
        self._people = people

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 421 or 429 itself, or pass on."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._is_signed(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._by_token(scope, headers) if self._tokens else self._by_place(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, detail = refusal
        body = orjson.dumps({"type": "about:blank", "title": "Refused", "status": status, "detail": detail})
        response_headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
        ]
        if status == 401:
            response_headers.append((b"www-authenticate", b"Bearer"))
        if status == 429:
            response_headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": body})

    def _is_signed(self, scope: Scope) -> bool:
        return scope["method"] == "POST" and scope["path"] in self._signed

    def _by_token(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if scope["method"] in READING and is_page(scope["path"]):
            return None
        if scope["path"].startswith(LINKS):
            return None
        asks = _VERDICT.fullmatch(scope["path"]) is not None
        given = _token(headers.get(b"authorization", b""), basic=asks)
        if given is None:
            return 401, "a valid bearer token is needed"
        name, roles = self._whose(given)
        client = peer(scope["client"])
        if not roles:
            if self._guesses.wrong(client) > 0.0:
                return 429, "too many wrong tokens"
            return 401, "a valid bearer token is needed"
        if self._guesses.right(client, name) > 0.0:
            return 429, "too many wrong tokens"
        if OPERATOR not in roles and scope["method"] not in READING and not asks:
            if not roles - {"viewer"}:
                return 403, "this token may read, but not change"
            if not _APPROVING.fullmatch(scope["path"]):
                return 403, "this token may read and approve, but not change"
        scope.setdefault("state", {}).update(actor=name, roles=roles)
        return None

    def _whose(self, given: bytes) -> tuple[str, frozenset[str]]:
        """The name and roles that come with a token; no roles for nobody's."""
        role = next((role for token, role in self._tokens if compare_digest(token, given)), None)
        person = self._people().by_token(given)
        if role is not None:
            return role, frozenset({role})
        return (person.name, person.roles) if person is not None else ("", frozenset())

    def _by_place(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not is_loopback(_without_port(host)):
            return (
                421,
                "the Host header does not name this machine; set a token to use the door from elsewhere",
            )
        origin = headers.get(b"origin")
        if scope["method"] not in READING and origin is not None:
            own = f"{scope['scheme']}://{host}"
            if origin.decode("latin-1").lower() != own:
                return 403, "changes are not taken from pages of another origin"
        scope.setdefault("state", {})["actor"] = "local"
        return None


def _token(authorization: bytes, *, basic: bool) -> bytes | None:
    """The token that a request brings: by Bearer, or where allowed as Basic's password; None for none."""
    scheme, _, given = authorization.partition(b" ")
    given = given.strip()
    if scheme.lower() == b"bearer":
        return given or None
    if scheme.lower() != b"basic" or not basic:
        return b"" if given else None
    try:
        return b64decode(given, validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
