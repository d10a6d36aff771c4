"""Webhooks of MLflow: whom to believe. Pure, but for what it remembers of deliveries.

Source: `mlflow/webhooks/delivery.py`. `X-MLflow-Signature` is `v1,` and the base64 of HMAC-SHA256 over
`<X-MLflow-Delivery-Id>.<X-MLflow-Timestamp>.<body>`, with the webhook's secret.

Law: a delivery is taken that was signed with one of the secrets, at most `MOST_SECONDS` ago, and that was not
taken before. What was taken is remembered for as long as its time would let it in again; a restart forgets
it. That does no harm: a delivery says that something has changed, and never what.
"""

import hmac
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import orjson

from serving.errors import Conflict, InvalidInput, Unauthenticated

MOST_SECONDS = 300.0
MAX_REMEMBERED = 100_000
PATH = "/v1/hooks/mlflow"
_SIGNATURE, _TIME, _ID = "x-mlflow-signature", "x-mlflow-timestamp", "x-mlflow-delivery-id"


class Deliveries:
    """Takes deliveries.

    Args:
        secrets: each of which is believed; several while one takes the place of another.
        count: told of each: taken, forged, late, replayed.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        count: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._count = count
        self._clock = clock
        self._taken: OrderedDict[str, float] = OrderedDict()  # until when, by id, in order of coming

    def take(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Believe a delivery, or not.

        Args:
            headers: by name in lower case.
            body: as it came.

        Returns:
            The registered model of which it speaks; None where it names none.

        Raises:
            Unauthenticated: it is not signed with a secret that is known here, or too long ago.
            Conflict: it was taken before.
            InvalidInput: it is signed, and no JSON.
        """
        id_, stamp, signature = (headers.get(name, "") for name in (_ID, _TIME, _SIGNATURE))
        if not id_ or not stamp or not signature:
            self._count("forged")
            raise Unauthenticated(f"a webhook of MLflow has {_SIGNATURE}, {_TIME} and {_ID}")
        signed = f"{id_}.{stamp}.".encode() + body
        known = [_sign(secret, signed) for secret in self._secrets]
        if not any([hmac.compare_digest(each, signature.encode()) for each in known]):  # noqa: C419  (all)
            self._count("forged")
            raise Unauthenticated(
                "the signature is not of a secret that is known here (UNDERSTUDY_MLFLOW_WEBHOOK_SECRET)"
            )
        now = self._clock()
        if not stamp.isascii() or not stamp.isdigit() or abs(now - int(stamp[:15])) > MOST_SECONDS:
            self._count("late")
            raise Unauthenticated(
                f"it was signed more than {MOST_SECONDS / 60:.0f} minutes ago, or ahead, by the clock here"
            )
        self._remember(id_, now)
        self._count("taken")
        return _model(body)

    def _remember(self, id_: str, now: float) -> None:
        while self._taken and next(iter(self._taken.values())) < now:
            self._taken.popitem(last=False)
        if id_ in self._taken:
            self._count("replayed")
            raise Conflict(f"delivery {id_[:100]} was taken already")
        if len(self._taken) >= MAX_REMEMBERED:
            self._taken.popitem(last=False)
        self._taken[id_] = now + 2 * MOST_SECONDS


def _sign(secret: bytes, signed: bytes) -> bytes:
    return b"v1," + b64encode(hmac.digest(secret, signed, "sha256"))


def _model(body: bytes) -> str | None:
    try:
        said = orjson.loads(body)
    except ValueError:
        raise InvalidInput("it is signed, and no JSON") from None
    data = said.get("data") if isinstance(said, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
