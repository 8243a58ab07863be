"""Where documents go: the channels of a partner, or of our own systems.

A channel names a secret (password, key) by its name; its content lies in the installation's
folder of secrets, never in a reference file.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import WHOLE

DocumentWord = Literal[
    "invoice",
    "credit_note",
    "debit_note",
    "self_billed",
    "usage_declaration",
    "statement_of_account",
]

FIXED_FORMATS = (
    "pdf",
    "xml",
    "csv",
    "itemised",
    "json",
    "xlsx",
    "factur-x",
    "customer-bill",
    "journal-csv",
    "journal-xml",
    "journal-json",
    "journal-oracle",
    "journal-netsuite",
    "journal-sap",
)
"""Formats that the program itself writes; any other is a text template, 'detail.txt'."""

ALWAYS_MADE = ("json", "csv", "pdf", "xml", "itemised")
"""Formats of every numbered document, whether its partner's file names them or not."""

_TEMPLATE = re.compile(r"[a-z0-9_-]+\.[a-z0-9]{1,8}")


def _format(value: str) -> str:
    if value not in FIXED_FORMATS and not _TEMPLATE.fullmatch(value):
        raise ValueError(
            f"is neither one of {', '.join(FIXED_FORMATS)} nor a text template such as detail.txt"
        )
    return value


def _inside(value: str) -> str:
    """Refuse a path that leads out of the folder that it is relative to."""
    if value.startswith("/") or "\\" in value or ".." in value.split("/"):
        raise ValueError("is not a path inside its folder, such as P01/invoices")
    return value.strip("/")


def _ascii(value: str) -> str:
    """Refuse letters that mail carries only between servers that have agreed on it."""
    if not value.isascii():
        raise ValueError("is not in ASCII; a domain of other letters is written as xn--...")
    return value


def _host(value: str) -> str:
    """Refuse a host that no name server can be asked for."""
    try:
        value.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"is no name of a host: {error.__cause__ or error}") from error
    return value


def _url(value: str) -> str:
    """Refuse an address whose host or port cannot be one."""
    try:
        parts = urlsplit(value)
        _host(parts.hostname or "")
        known = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"is no address: {error}") from error
    if value and not known:
        raise ValueError("is no address: it has no host, or port 0")
    return value


Format = Annotated[str, AfterValidator(_format)]
Inside = Annotated[str, AfterValidator(_inside)]
MailAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$"),
    AfterValidator(_ascii),
]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]+$"), AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535), WHOLE]
SafeUrl = Annotated[
    str, StringConstraints(pattern=r"^https://[^\s/]+(/\S*)?$"), AfterValidator(_url)
]
Megabytes = Annotated[int, Field(ge=1, le=100), WHOLE]


class _Channel(Form):
    """What every channel says: its name, and which documents and formats go by it.

    No formats means all that the partner gets.
    """

    channel: Identifier
    documents: tuple[DocumentWord, ...] = ()
    formats: tuple[Format, ...] = ()


class FolderChannel(_Channel):
    """A folder below the installation's portal; `url` is where the partner finds it."""

    via: Literal["folder"]
    path: Annotated[Inside, StringConstraints(min_length=1)]
    url: Annotated[str, StringConstraints(pattern=r"^(https://\S+)?$")] = ""

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        return self.path


class MailChannel(_Channel):
    """Mail by the installation's server; what exceeds the size goes as a link to the portal."""

    via: Literal["mail"]
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1)]
    attach_up_to_mb: Megabytes = 10

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        return ", ".join(self.to)


class SftpChannel(_Channel):
    """An SFTP server, known by its host key ('ssh-ed25519 AAAA...')."""

    via: Literal["sftp"]
    host: Host
    port: Port = 22
    user: Name
    host_key: Annotated[
        str, StringConstraints(pattern=r"^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( .*)?$")
    ]
    secret: Identifier
    folder: str = ""

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        return f"sftp://{self.user}@{self.host}:{self.port}/{self.folder.lstrip('/')}"


class ObjectChannel(_Channel):
    """A bucket of any store that speaks S3; the secret is 'ACCESS_KEY:SECRET_KEY'."""

    via: Literal["s3"]
    bucket: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")]
    prefix: Inside = ""
    endpoint: Annotated[
        str, StringConstraints(pattern=r"^(https?://\S+)?$"), AfterValidator(_url)
    ] = ""
    region: str = "us-east-1"
    secret: Identifier

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        return f"s3://{self.bucket}/{self.prefix}" + (
            f" at {self.endpoint}" if self.endpoint else ""
        )


class WebhookChannel(_Channel):
    """An HTTPS address that takes a signed POST; what exceeds the size goes as a link."""

    via: Literal["webhook"]
    url: SafeUrl
    secret: Identifier
    attach_up_to_mb: Megabytes = 10

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        return self.url


Channel = Annotated[
    FolderChannel | MailChannel | SftpChannel | ObjectChannel | WebhookChannel,
    Field(discriminator="via"),
]


def _distinct(channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    names = [channel.channel for channel in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two channels are called {', '.join(twice)}")
    return channels


Channels = Annotated[tuple[Channel, ...], AfterValidator(_distinct)]
