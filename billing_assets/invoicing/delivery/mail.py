"""Mail by SMTP, always encrypted; the files attached, or linked when they are large.

The Message-ID is the delivery's own, so a second copy would be known as one. Handing over is
logged just before the message's text is sent: from there on only the server knows whether it
took it, and SMTP cannot be asked.
"""

import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from mimetypes import guess_type
from pathlib import Path

from billing_assets.core.settings import Settings
from billing_assets.invoicing.delivery.parcel import (
    TIMEOUT_SECONDS,
    Item,
    Parcel,
    Receipt,
    Refused,
    Unanswered,
    Unreachable,
    secret,
    tls,
)
from billing_assets.invoicing.texts import render_text
from billing_assets.reference.channels import MailChannel


def send(channel: MailChannel, parcel: Parcel, settings: Settings) -> Receipt:
    """Send one message to all addresses of the channel, or to none of them.

    Raises `Refused` for a refused address, sender or login, `Unreachable` when the server cannot
    take it now, `Unanswered` when its last answer is lost.
    """
    if not settings.smtp_host:
        raise Refused("no mail server is set", hint="set ICB_SMTP_HOST")
    if "@" not in parcel.sender or not parcel.sender.isascii():
        raise Refused(
            f"our address {parcel.sender!r} is none that mail can come from",
            hint="mend contact_email in carrier.yaml",
        )
    attached, linked = parcel.split(channel.attach_up_to_mb)
    message = _message(channel, parcel, attached, linked, settings.templates)
    try:
        client = _connected(settings)
        try:
            return _handed_over(client, channel, parcel, message)
        finally:
            _take_leave(client)
    except smtplib.SMTPResponseException as error:
        raise _answered(error.smtp_code, error.smtp_error, "the mail server") from error
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"{settings.smtp_host} cannot prove who it is: {error.verify_message}",
            hint="name its authority in ICB_CA_FILE",
        ) from error
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(
            str(error), hint="mail is never sent in the clear; see ICB_SMTP_TLS"
        ) from error
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise Unreachable(f"{settings.smtp_host}:{settings.smtp_port}: {error}") from error


def _connected(settings: Settings) -> smtplib.SMTP:
    context = tls(settings)
    place = (settings.smtp_host, settings.smtp_port)
    if settings.smtp_tls == "implicit":
        client = smtplib.SMTP_SSL(*place, timeout=TIMEOUT_SECONDS, context=context)
    else:
        client = smtplib.SMTP(*place, timeout=TIMEOUT_SECONDS)
        client.starttls(context=context)
    client.ehlo()
    if settings.smtp_user:
        password = secret(settings, settings.smtp_secret)
        if not f"{settings.smtp_user}{password}".isascii():
            raise Refused(
                "the login of the mail server is not in ASCII",
                hint=f"mend ICB_SMTP_USER or the secret {settings.smtp_secret}",
            )
        client.login(settings.smtp_user, password)
    return client


def _take_leave(client: smtplib.SMTP) -> None:
    """End the session; what the server says to that is nothing about the message."""
    with suppress(smtplib.SMTPException, OSError):
        client.quit()
    client.close()


def _handed_over(
    client: smtplib.SMTP, channel: MailChannel, parcel: Parcel, message: EmailMessage
) -> Receipt:
    code, answer = client.mail(parcel.sender)
    if code != 250:
        raise _answered(code, answer, f"sender {parcel.sender}")
    for address in channel.to:
        code, answer = client.rcpt(address)
        if code not in (250, 251):
            # all or none: after the address is mended nobody gets it twice
            raise _answered(code, answer, f"address {address}")
    content = message.as_bytes(policy=SMTP)
    parcel.hand_over()
    try:
        code, answer = client.data(content)
    except smtplib.SMTPDataError:
        raise
    except (OSError, smtplib.SMTPException) as error:
        raise Unanswered(
            f"the mail server's answer to {message['Message-ID']} is lost: {error}"
        ) from error
    if code != 250:
        raise _answered(code, answer, "the mail server")
    return {"message_id": message["Message-ID"], "answer": _text(answer)}


def _answered(code: int, answer: bytes | str, who: str) -> Refused | Unreachable:
    """What a server's code means: 4xx now, 5xx for good."""
    said = f"{who} was answered {code} {_text(answer)}"
    if 400 <= code < 500:
        return Unreachable(said)
    return Refused(said, hint="mend the address or the partner's mailbox, then deliver again")


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _message(
    channel: MailChannel,
    parcel: Parcel,
    attached: list[Item],
    linked: Mapping[str, str],
    templates: Path,
) -> EmailMessage:
    facts = {"parcel": parcel, "attached": [item.name for item in attached], "links": linked}
    text = render_text(templates, "default", "mail.txt.j2", facts)
    subject, _, body = text.partition("\n")
    message = EmailMessage()
    message["From"] = parcel.sender
    message["To"] = ", ".join(channel.to)
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{parcel.key}@{parcel.sender.rpartition('@')[2]}>"
    message.set_content(body.lstrip("\n"))
    for item in attached:
        kind = guess_type(item.name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        message.add_attachment(
            item.path.read_bytes(), maintype=main, subtype=sub, filename=item.name
        )
    return message
