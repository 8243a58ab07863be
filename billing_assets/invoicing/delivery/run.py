"""What goes where: plan the deliveries of issued documents, try them, record every attempt.

A channel is tried a few times with growing pauses; when it stays silent its other documents wait
for the next run, and all other channels go on. What went wrong stands among the cycle's
exceptions with partner, channel and what to do.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.ids import sha256_of, sha256_of_file
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.delivery import folder, mail, objects, sftp, webhook
from billing_assets.invoicing.delivery.parcel import (
    Item,
    Parcel,
    Receipt,
    Refused,
    Unanswered,
    Unreachable,
)
from billing_assets.reference.channels import (
    Channel,
    FolderChannel,
    MailChannel,
    ObjectChannel,
    SftpChannel,
    WebhookChannel,
)
from billing_assets.reference.load import Reference
from billing_assets.registry.deliveries import OPEN, Delivery, Plan
from billing_assets.registry.documents import Document
from billing_assets.registry.schema import CycleState, DeliveryState

TRIES = 4
LONGEST_PAUSE_SECONDS = 30
CHANNELS_AT_ONCE = 8

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class _Way:
    """A document on one channel of a receiver (a partner, or our own entity)."""

    document: Document
    receiver: str
    channel: Channel

    @property
    def name(self) -> str:
        """The channel's name in the registry; one of our own cannot be taken for a partner's."""
        if self.receiver == self.document.partner:
            return self.channel.channel
        return f"{self.receiver}:{self.channel.channel}"


def deliver(
    home: Installation,
    *,
    what: str = "",
    partners: Sequence[str] = (),
    clock: Clock,
    who: str,
    first_pause: float = 1.0,
) -> list[Delivery]:
    """Deliver what is issued and not delivered: all, or a cycle, a document, some partners.

    Without `what` the documents of cycles that are final and not yet delivered; naming a cycle
    or document also reaches channels that were added since. Returns the deliveries as they
    stand; failed ones are not raised. Raises `NotFound` for an unknown cycle or document.
    """
    documents = _chosen(home, what, set(partners))
    ways = list(_ways(documents, home.reference))
    known = {(one.document, one.channel): one for one in _known(home, documents)}
    plans = [_plan(way, home.reference) for way in ways]
    new = [plan for plan in plans if _differs(plan, known.get((plan.document, plan.channel)))]
    if new:
        home.registry.deliveries.plan(new, now=clock(), who=who)
    ways.sort(key=lambda way: (way.receiver, way.name, way.document.id))
    groups = [list(g) for _, g in groupby(ways, key=lambda way: (way.receiver, way.name))]
    # the portal first: mails and webhooks may point into it
    for first in (True, False):
        chosen = [g for g in groups if isinstance(g[0].channel, FolderChannel) is first]
        with ThreadPoolExecutor(CHANNELS_AT_ONCE) as pool:
            tasks = [pool.submit(_channel, home, g, clock, who, first_pause) for g in chosen]
        for task in tasks:
            task.result()
    for cycle in sorted({document.cycle for document in documents}):
        _mark_delivered(home, cycle, clock(), who)
    return _known(home, documents)


def _chosen(home: Installation, what: str, partners: set[str]) -> list[Document]:
    """The documents that are meant; `what` is a number, a document's id or a cycle's."""
    registry = home.registry
    if not what:
        return [
            document
            for cycle in registry.cycles.list(corrections=True)
            if cycle.state is CycleState.FINAL and (not partners or cycle.partner in partners)
            for document in registry.documents.of_cycle(cycle.id)
        ]
    found = registry.documents.with_number(what) or registry.documents.of_cycle(what)
    if found:
        return found
    try:
        return [registry.documents.get(what)]
    except NotFound:
        if any(cycle.id == what for cycle in registry.cycles.list(corrections=True)):
            raise NotFound(f"cycle {what} has no issued document") from None
        raise


def _known(home: Installation, documents: Iterable[Document]) -> list[Delivery]:
    cycles = sorted({document.cycle for document in documents})
    ids = {document.id for document in documents}
    return [
        one
        for cycle in cycles
        for one in home.registry.deliveries.list(cycle=cycle)
        if one.document in ids
    ]


def _ways(documents: Iterable[Document], reference: Reference) -> Iterable[_Way]:
    """Every channel that takes a document: the partner's, and our own systems'."""
    carrier = reference.carrier
    for document in documents:
        partner = reference.partners.get(document.partner)
        receivers = [(carrier.entity, carrier.delivery)]
        if partner is not None:
            receivers.append((partner.partner, partner.delivery))
        for receiver, channels in receivers:
            for channel in channels:
                if channel.documents and document.kind.value not in channel.documents:
                    continue
                way = _Way(document, receiver, channel)
                if _files(way, reference):
                    yield way


def _files(way: _Way, reference: Reference) -> dict[str, str]:
    """SHA-256 of the files that a channel takes of a document, by the names they travel under."""
    wanted = way.channel.formats
    if not wanted:
        partner = reference.partners.get(way.receiver)
        wanted = partner.document.formats if partner else tuple(way.document.files)
    kept = way.document.files
    return {kept[name].name: kept[name].sha256 for name in wanted if name in kept}


def _plan(way: _Way, reference: Reference) -> Plan:
    return Plan(
        document=way.document.id,
        channel=way.name,
        partner=way.receiver,
        cycle=way.document.cycle,
        via=way.channel.via,
        address=way.channel.address,
        files=_files(way, reference),
    )


def _differs(plan: Plan, known: Delivery | None) -> bool:
    """Whether a plan is news: not known yet, or still open and with other files or address."""
    if known is None:
        return True
    same = (plan.address, dict(plan.files)) == (known.address, dict(known.files))
    return known.state in OPEN and not same


def _channel(
    home: Installation, ways: Sequence[_Way], clock: Clock, who: str, first_pause: float
) -> None:
    """Deliver the documents of one channel, one after the other, unless it stays silent."""
    first = ways[0]
    with home.registry.deliveries.lock(f"{first.receiver}/{first.name}") as held:
        if not held:  # another process is at it
            return
        for way in ways:
            if not _one(home, way, clock, who, first_pause):
                return


def _one(home: Installation, way: _Way, clock: Clock, who: str, first_pause: float) -> bool:
    """Deliver one document by one channel; False when the channel does not answer at all."""
    record = home.registry.deliveries
    key = (way.document.id, way.name)
    [known] = [d for d in record.list(document=key[0]) if d.channel == key[1]]
    if known.state not in (*OPEN, DeliveryState.HANDED_OVER):
        return True
    begun = record.begin(*key, now=clock(), who=who)
    if begun.state is DeliveryState.UNKNOWN:
        return True

    def hand_over() -> None:
        record.hand_over(*key, now=clock())

    def end(state: DeliveryState, message: str = "", receipt: Receipt | None = None) -> None:
        record.end(*key, state, now=clock(), who=who, message=message, receipt=receipt)

    try:
        parcel = _parcel(home, way, begun, hand_over)
        receipt = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential_jitter(
                multiplier=first_pause, max=LONGEST_PAUSE_SECONDS, jitter=first_pause
            ),
            reraise=True,
        )(_send, way.channel, parcel, home.settings)
    except Unanswered as error:
        end(DeliveryState.UNKNOWN, _said(way, error))
    except Unreachable as error:
        end(DeliveryState.FAILED, _said(way, error) + "; the next run tries again")
        return False
    except BillingError as error:
        end(DeliveryState.FAILED, _said(way, error))
    else:
        end(DeliveryState.DELIVERED, receipt=receipt)
    return True


def _send(channel: Channel, parcel: Parcel, settings: Settings) -> Receipt:
    match channel:
        case FolderChannel():
            return folder.send(channel, parcel, settings)
        case MailChannel():
            return mail.send(channel, parcel, settings)
        case SftpChannel():
            return sftp.send(channel, parcel, settings)
        case ObjectChannel():
            return objects.send(channel, parcel, settings)
        case WebhookChannel():
            return webhook.send(channel, parcel, settings)


def _said(way: _Way, error: BillingError) -> str:
    """An exception for people: receiver, document, channel, reason and what to do."""
    return (
        f"{way.receiver}: {way.document.number_text} by channel {way.channel.channel} "
        f"({way.channel.via}, {way.channel.address}): {error}"
    )


def _parcel(
    home: Installation, way: _Way, planned: Delivery, hand_over: Callable[[], None]
) -> Parcel:
    """What travels; raises `Refused` when a kept file is damaged or gone."""
    document, carrier = way.document, home.reference.carrier
    sizes = {file.name: file.bytes for file in document.files.values()}
    items = tuple(
        Item(name, sha256, sizes[name], home.blobs.path(sha256))
        for name, sha256 in sorted(planned.files.items())
    )
    for item in items:
        if not item.path.is_file() or sha256_of_file(item.path) != item.sha256:
            raise Refused(
                f"the kept file {item.name} is damaged or gone", hint="`icb verify` it; restore it"
            )
    partner = home.reference.partners.get(document.partner)
    return Parcel(
        key=sha256_of(f"{document.canonical_sha256}/{planned.id}".encode())[:40],
        number=document.number_text,
        kind=document.kind.value,
        partner=document.partner,
        partner_name=partner.name if partner else document.partner,
        seller=carrier.name,
        sender=carrier.contact_email,
        language=partner.document.language if partner else "en",
        currency=document.currency,
        gross=f"{document.gross:f}",
        issue_date=document.issue_date.isoformat(),
        due_date=document.due_date.isoformat(),
        items=items,
        links=_links(home, way),
        hand_over=hand_over,
    )


def _links(home: Installation, way: _Way) -> dict[str, str]:
    """Addresses of a document's files that lie in the partner's portal by now."""
    partner = home.reference.partners.get(way.receiver)
    folders = {
        channel.channel: channel.url
        for channel in (partner.delivery if partner else ())
        if isinstance(channel, FolderChannel) and channel.url
    }
    return {
        name: f"{folders[one.channel].rstrip('/')}/{name}"
        for one in home.registry.deliveries.list(document=way.document.id)
        if one.channel in folders and one.state is DeliveryState.DELIVERED
        for name in one.files
    }


def _mark_delivered(home: Installation, cycle: str, now: datetime, who: str) -> None:
    """Take a final cycle on when every delivery of it has reached its receiver."""
    known = home.registry.deliveries.list(cycle=cycle)
    all_there = known and all(one.state is DeliveryState.DELIVERED for one in known)
    if all_there and home.registry.cycles.get(cycle).state is CycleState.FINAL:
        home.registry.cycles.mark_delivered(cycle, now=now, who=who)
