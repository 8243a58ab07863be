"""What travels: one document's files by a channel, and the ways in which that can fail."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import sha256_of
from billing_assets.core.settings import Settings

TIMEOUT_SECONDS = 30
"""How long a server may stay silent."""

BLOCK = 1 << 20

Receipt = Mapping[str, str]
"""What a receiver answered, for the registry."""


class Unreachable(BillingError):
    """The receiver cannot take it now; nothing has reached it, so trying again is safe."""


class Refused(BillingError):
    """The receiver, or our own configuration, says no; a person has to mend something."""


class Unanswered(BillingError):
    """It was handed over and the answer is lost: it may have arrived."""


@dataclass(frozen=True)
class Item:
    """One file of a document: the name it travels under, its content, and where it lies."""

    name: str
    sha256: str
    size: int
    path: Path

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks."""
        with self.path.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block


@dataclass(frozen=True)
class Parcel:
    """A document on its way by one channel.

    `key` identifies the delivery for good: equal at every try. `links` are addresses of files
    that the partner finds in its portal, by file name. `hand_over` is to be called right before
    a step that cannot be repeated.
    """

    key: str
    number: str
    kind: str
    partner: str
    partner_name: str
    seller: str
    sender: str
    language: str
    currency: str
    gross: str
    issue_date: str
    due_date: str
    items: tuple[Item, ...]
    links: Mapping[str, str]
    hand_over: Callable[[], None]

    @property
    def stem(self) -> str:
        """The number as a part of file names."""
        return self.items[0].name.split(".")[0]

    def manifest(self) -> bytes:
        """The files with their hashes, as `sha256sum -c` reads them."""
        return "".join(f"{item.sha256}  {item.name}\n" for item in self.items).encode()

    def with_manifest(self, scratch: Path) -> tuple[Item, ...]:
        """The files and, last, their manifest, which says that all are there."""
        content = self.manifest()
        path = scratch / f"{self.stem}.sha256"
        path.write_bytes(content)
        return (*self.items, Item(path.name, sha256_of(content), len(content), path))

    def split(self, attach_up_to_mb: int) -> tuple[list[Item], dict[str, str]]:
        """The files to attach, smallest first up to a size, and links for the others.

        Raises `Refused` when a file is too large and the partner's portal does not hold it.
        """
        room = attach_up_to_mb * 1_000_000
        attached: list[Item] = []
        linked: dict[str, str] = {}
        for item in sorted(self.items, key=lambda one: (one.size, one.name)):
            if item.size <= room:
                attached.append(item)
                room -= item.size
            elif item.name in self.links:
                linked[item.name] = self.links[item.name]
            else:
                raise Refused(
                    f"{item.name} has {item.size} bytes, more than is attached, and no link",
                    hint="give the partner a folder channel with a url that takes this format, "
                    "and deliver that first",
                )
        return attached, linked


def secret(settings: Settings, name: str) -> str:
    """The content of a secret; raises `Refused` when it is missing or no text."""
    path = settings.secrets / name
    try:
        return path.read_text("utf-8").strip()
    except UnicodeError as error:
        raise Refused(f"the secret {name} is no text in UTF-8", hint=f"mend {path}") from error
    except OSError as error:
        raise Refused(
            f"the secret {name} cannot be read: {error.strerror}", hint=f"put it into {path}"
        ) from error


def tls(settings: Settings) -> ssl.SSLContext:
    """How servers are trusted: the system's authorities, and the installation's own."""
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Refused(
                f"{settings.ca_file} is no file of authorities: {error}", hint="mend ICB_CA_FILE"
            ) from error
    return context
