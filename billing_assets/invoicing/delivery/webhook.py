"""A signed HTTPS POST, one a document, as Standard Webhooks 1.0 says.

Headers `webhook-id`, `webhook-timestamp` and `webhook-signature` = 'v1,' and the base64 of
HMAC-SHA256 over 'id.timestamp.body'. The id is the delivery's own at every try, so a receiver
knows a repeated message; that is what makes trying again safe after a lost answer.
"""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import httpx

from billing_assets.core.settings import Settings
from billing_assets.invoicing.delivery.parcel import (
    TIMEOUT_SECONDS,
    Parcel,
    Receipt,
    Refused,
    Unreachable,
    secret,
    tls,
)
from billing_assets.reference.channels import WebhookChannel

LATER = (408, 409, 425, 429)
"""Answers below 500 that ask to try again."""


def send(channel: WebhookChannel, parcel: Parcel, settings: Settings) -> Receipt:
    """Post the document; a redirect is not followed.

    Raises `Refused` for an answer that will not change, `Unreachable` for one that may.
    """
    attached, linked = parcel.split(channel.attach_up_to_mb)
    hashes = {item.name: item for item in parcel.items}
    body = json.dumps(
        {
            "type": "document.issued",
            "document": {
                "number": parcel.number,
                "kind": parcel.kind,
                "partner": parcel.partner,
                "issue_date": parcel.issue_date,
                "due_date": parcel.due_date,
                "currency": parcel.currency,
                "gross": parcel.gross,
            },
            "files": [
                {
                    "name": item.name,
                    "sha256": item.sha256,
                    "bytes": item.size,
                    "content": base64.b64encode(item.path.read_bytes()).decode(),
                }
                for item in attached
            ]
            + [
                {
                    "name": name,
                    "sha256": hashes[name].sha256,
                    "bytes": hashes[name].size,
                    "url": url,
                }
                for name, url in linked.items()
            ],
        }
    ).encode()
    stamp = str(int(datetime.now(UTC).timestamp()))
    headers = {
        "content-type": "application/json",
        "webhook-id": parcel.key,
        "webhook-timestamp": stamp,
        "webhook-signature": signature(secret(settings, channel.secret), parcel.key, stamp, body),
    }
    try:
        with httpx.Client(verify=tls(settings), timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(channel.url, content=body, headers=headers)
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Refused(
                f"the server cannot prove who it is: {error}",
                hint="name its authority in ICB_CA_FILE, or ask the partner",
            ) from error
        raise Unreachable(f"{channel.url}: {error}") from error
    said = f"the server answered {answer.status_code}"
    if answer.is_success:
        return {"answer": str(answer.status_code), "webhook_id": parcel.key}
    if answer.status_code >= 500 or answer.status_code in LATER:
        raise Unreachable(said)
    raise Refused(
        said, hint="ask the partner: it does not take the message, or its url has changed"
    )


def signature(key: str, message_id: str, stamp: str, body: bytes) -> str:
    """The signature header of a message."""
    signed = f"{message_id}.{stamp}.".encode() + body
    digest = hmac.new(key.encode(), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
