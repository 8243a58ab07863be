"""Charge lines for priced usage: what its cycles would bill, without a lake."""

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts
from billing_assets.charging.lines import charge_cycle
from billing_assets.charging.short_calls import count_short_calls
from billing_assets.core.periods import month_period
from billing_assets.lake.tables import CHARGE
from billing_assets.rating.price import PricedUsage
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.standalone import Standalone


def quote_cycles(priced: PricedUsage, month: str | None = None) -> pl.DataFrame:
    """The charges of each agreement's monthly cycles, in the columns of table `charge`.

    Without `month` ('YYYY-MM') there is a cycle for every month with usage; with it that month
    alone, in which earlier usage is billed as of a prior period and later usage is left out.
    Months are cut in the agreement's zone. Raises `ValueError` for what is no month.
    """
    quotes = [pl.DataFrame(schema=CHARGE.schema)]
    deals = priced.agreements.reference.deals
    legs_of = priced.priced.select(pl.exclude("reason")).filter
    for offers in _together(priced.agreements):
        versions = [v for offer in offers for v in priced.agreements.versions(offer)]
        shared = sorted({part.agreement for one in versions for part in one.terms.parts})
        sources = [v for offer in shared for v in priced.agreements.versions(offer)]
        legs = legs_of(pl.col("offer").is_in(offers))
        usage, given = (
            daily_usage(legs_of(pl.col("offer").is_in(some)), pl.col("records"))
            for some in (offers, shared)
        )
        days = pl.concat([usage["local_day"], given["local_day"]])
        for one in [month] if month else days.dt.strftime("%Y-%m").unique().sort():
            period = month_period(one, versions[-1].terms.zone)
            begun = pl.lit(True) if month else pl.col("local_day") >= period.start
            terms = [version.terms for version in versions]
            cycle = Cycle(f"{'+'.join(offers)}/{one}", terms[-1].partner, one, period)
            own, others = (
                (frame.filter(begun, pl.col("local_day") < period.end), frame.filter(~begun))
                for frame in (usage, given)
            )
            quotes.append(
                charge_cycle(
                    Facts(
                        cycle,
                        versions,
                        *own,
                        legs,
                        short_calls=count_short_calls(
                            legs, terms, period, records=pl.col("records")
                        ),
                        deals=[d for d in deals if d.directions[0].agreement in offers],
                        samples=priced.agreements.reference.samples,
                        sources=Facts(cycle, sources, *others) if sources else None,
                        fixings=priced.agreements.reference.rates_of_exchange,
                    ),
                    buckets=1,
                    sources={"usage": "priced without an installation"},
                )
            )
    order = ["cycle", "leg", "kind", "section", "destination", "band", "origin", "price"]
    usage_first = [name in ("kind", "section") for name in order]
    return pl.concat(quotes).sort(order, descending=usage_first)


def _together(agreements: Standalone) -> list[list[str]]:
    """Agreements by those that are charged together, because a term of one counts another."""
    groups = [{offer} for offer in sorted(agreements.trunks)]
    links = [
        {one.terms.agreement, *term.agreements}
        for one in agreements.reference.agreements
        for term in (*one.terms.volume, *one.terms.commitments)
    ]
    links += [{d.agreement for d in deal.directions} for deal in agreements.reference.deals]
    for named in links:
        joined = [group for group in groups if group & named]
        groups = [group for group in groups if group not in joined]
        groups.append(set[str]().union(*joined))
    return sorted(sorted(group) for group in groups)
