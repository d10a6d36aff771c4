"""Telling one channel one thing, once: what is sent, and what an answer means.

A webhook is signed as Standard Webhooks has it (standardwebhooks.com): header `webhook-signature` is `v1,`
and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
"""

import asyncio
import hmac
import smtplib
import ssl
import time
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import assert_never

import httpx
import orjson

from control.notify.messages import Email, Notice, Slack, Way, Webhook

TIMEOUT_SECONDS = 10.0
AGAIN = frozenset({408, 409, 425, 429})


class Refused(Exception):
    """It was not taken, and never will be: the reason, without secrets."""


class Unreachable(Exception):
    """It was not taken; it may be the next time: the reason, without secrets."""


async def tell(way: Way, notice: Notice, client: httpx.AsyncClient) -> None:
    """Tell once.

    Raises:
        Refused: telling it again is of no use.
        Unreachable: telling it again may be.
    """
    match way:
        case Webhook():
            body = orjson.dumps(payload(notice))
            headers = {
                "content-type": "application/json",
                **signature(way.secret, notice.id, time.time(), body),
            }
            await _post(client, way.url, body, headers)
        case Slack():
            body = orjson.dumps({"text": _slack_text(notice)})
            await _post(client, way.url, body, {"content-type": "application/json"})
        case Email():
            await asyncio.to_thread(_mail, way, notice)
        case _:
            assert_never(way)


def payload(notice: Notice) -> dict[str, object]:
    """What a webhook gets."""
    return {
        "id": notice.id,
        "event": notice.event,
        "model": notice.model or None,
        "revision": notice.revision,
        "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="milliseconds"),
        "actor": notice.actor,
        "text": notice.text,
        "evidence": notice.evidence,
        "link": notice.link,
    }


def secret_bytes(text: str) -> bytes:
    """A secret as it is configured: `whsec_` and base64, or the bytes themselves.

    Raises:
        ValueError: what follows `whsec_` is no base64.
    """
    if not text.startswith("whsec_"):
        return text.encode()
    return b64decode(text.removeprefix("whsec_"), validate=True)


def signature(secret: bytes | None, id_: str, now: float, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; without a secret, without a signature.

    Args:
        secret: shared with the receiver.
        id_: of the notice.
        now: seconds since 1970.
        body: as sent.
    """
    headers = {"webhook-id": id_, "webhook-timestamp": str(int(now))}
    if secret is not None:
        signed = f"{id_}.{int(now)}.".encode() + body
        headers["webhook-signature"] = "v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return headers


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code  # its body is of no interest, and may be endless
    except (httpx.HTTPError, TimeoutError) as error:
        raise Unreachable(type(error).__name__) from None  # the text of the error may name the URL
    if 200 <= status < 300:
        return
    raise (Unreachable if status >= 500 or status in AGAIN else Refused)(f"it answered with status {status}")


def _slack_text(notice: Notice) -> str:
    text = notice.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text if notice.link is None else f"{text} <{notice.link}|look>"


def _mail(way: Email, notice: Notice) -> None:
    """Blocks, `TIMEOUT_SECONDS` at most for each of a handful of exchanges."""
    context = ssl.create_default_context()
    try:
        if way.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                way.host, way.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            smtp = smtplib.SMTP(way.host, way.port, timeout=TIMEOUT_SECONDS)
        with smtp:
            if way.security == "starttls":
                smtp.starttls(context=context)
            if way.user is not None and way.password is not None:
                smtp.login(way.user, way.password)
            smtp.send_message(_message(way, notice))
            for address, link in notice.personal:
                smtp.send_message(_message(replace(way, to=(address,)), replace(notice, link=link)))
    except smtplib.SMTPResponseException as error:
        lasting = 500 <= error.smtp_code < 600
        raise (Refused if lasting else Unreachable)(f"it answered with code {error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        lasting = all(500 <= code < 600 for code in codes)
        raise (Refused if lasting else Unreachable)("it refused every recipient") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Unreachable(type(error).__name__) from None


def _message(way: Email, notice: Notice) -> EmailMessage:
    message = EmailMessage()
    message["From"] = way.sender
    message["To"] = ", ".join(way.to)
    message["Subject"] = " ".join(_subject(notice).split())  # one line, whatever is in it
    message["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
    message["Message-ID"] = make_msgid(domain=way.sender.rpartition("@")[2])
    message["X-Understudy-Id"] = " ".join(notice.id.split())
    lines = [notice.text, ""]
    if isinstance(notice.evidence, dict):
        lines += [f"- {guard['reason']}" for guard in notice.evidence.get("guards", [])]
    if notice.link is not None:
        lines += ["", notice.link]
    message.set_content("\n".join(lines).strip() + "\n")
    return message


def _subject(notice: Notice) -> str:
    what = notice.event.replace("_", " ")
    return f"[understudy] {notice.model}: {what}" if notice.model else f"[understudy] edit {what}"
