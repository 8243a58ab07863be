"""Which charges of a cycle stand on one document: one side, one currency, and the streams that
the partner wants together.

A charge's stream is `recurring` for fees that do not depend on usage, and else the one that its
agreement names (voice, regulated, transit, ...). The partner's file lists streams that have a
document of their own; all others share one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from billing_assets.reference.models import Agreement, Leg, Partner

RECURRING = "recurring"
"""The stream of fees that do not depend on usage, whatever their agreement."""

_FEE_SECTIONS = ("recurring", "one_time")


@dataclass(frozen=True)
class Stream:
    """Charges of one document.

    `name` is the stream that has a document of its own, empty for the consolidated one. `turned`:
    the agreements are reverse charged, so that who sends the traffic is paid for it, and the
    document shows the charges with their sign turned.
    """

    leg: Leg
    currency: str
    name: str
    turned: bool
    charges: pl.DataFrame

    @property
    def ours(self) -> bool:
        """Whether we are the seller."""
        return (self.leg is Leg.CUSTOMER) is not self.turned


def streams(
    charges: pl.DataFrame, partner: Partner, agreements: Iterable[Agreement]
) -> Sequence[Stream]:
    """Group the charges of a cycle into documents, in a fixed order.

    `charges` are rows of table `charge` of one partner; each is in exactly one group.
    """
    terms = {agreement.key: agreement for agreement in agreements}
    separate = set(partner.document.separate_streams)

    def own_document(agreement: str, section: str) -> str:
        known = terms.get(agreement)
        stream = RECURRING if section in _FEE_SECTIONS else known.stream if known else ""
        return stream if stream in separate else ""

    pairs = charges.select("agreement", "section").unique()
    found = pl.DataFrame(
        [
            (
                agreement,
                section,
                own_document(agreement, section),
                agreement in terms and terms[agreement].reverse,
            )
            for agreement, section in pairs.iter_rows()
        ],
        schema={
            "agreement": charges.schema["agreement"],
            "section": charges.schema["section"],
            "stream": pl.String,
            "turned": pl.Boolean,
        },
        orient="row",
    )
    keys = ["leg", "turned", "currency", "stream"]
    groups = charges.join(found, on=["agreement", "section"], how="left", maintain_order="left")
    return [
        Stream(Leg(leg), currency, name, turned, rows.drop("stream", "turned"))
        for (leg, turned, currency, name), rows in sorted(
            groups.partition_by(keys, as_dict=True).items()
        )
    ]
