"""Terms that name agreements, bound to them: deals put into theirs, names and units checked."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta

from billing_assets.core.errors import Problem
from billing_assets.reference.deals import Deal, Direction
from billing_assets.reference.models import Agreement, Leg
from billing_assets.reference.share_terms import RevenueShare
from billing_assets.reference.volume_terms import CREDITS, Counted, VolumeRule
from billing_assets.reference.yamltext import Located


@dataclass(frozen=True)
class Version:
    """What a version of an agreement holds: local days, rated destinations and accounts."""

    first: date
    end: date
    destinations: frozenset[str]
    accounts: frozenset[str]

    def meets(self, first: date | None, end: date | None) -> bool:
        """Whether days from `first` up to `end` (exclusive; None is open) touch its own."""
        return (first or date.min) < self.end and self.first < (end or date.max)


Life = Mapping[str, Sequence[Version]]
"""The versions of each agreement."""


def bind(
    deals: Sequence[tuple[Deal, Located]], agreements: Mapping[str, tuple[Agreement, str]]
) -> tuple[dict[str, Agreement], list[Problem]]:
    """Agreements by key with the rules of their deals, and what does not fit.

    `agreements` are terms and file by key. A swap's direction becomes a bundle and a commitment
    of every version of its agreement, both named after the deal.
    """
    bound = {key: terms for key, (terms, _) in agreements.items()}
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for deal, located in deals:
        if deal.deal in seen:
            problems.append(
                Problem(
                    f"is defined by {seen[deal.deal]} too", located.file, None, "deal", deal.deal
                )
            )
            continue
        seen[deal.deal] = located.file
        wrong = list(_deal_problems(deal, located, bound))
        problems += wrong
        if wrong or deal.balance:
            continue
        for direction in deal.directions:
            rule, commitment = deal.rules(direction)
            for key, terms in bound.items():
                if terms.agreement == direction.agreement:
                    bound[key] = terms.model_copy(
                        update={
                            # the deal's price comes before the agreement's own rules
                            "volume": (rule, *terms.volume),
                            "commitments": (
                                *terms.commitments,
                                *((commitment,) if commitment else ()),
                            ),
                        }
                    )
    for key, (_, file) in agreements.items():
        problems += _term_problems(bound[key], file, bound)
    return bound, problems


def _deal_problems(
    deal: Deal, located: Located, agreements: Mapping[str, Agreement]
) -> Iterator[Problem]:
    sides: tuple[tuple[str, Direction | None, Leg], ...] = (
        ("received", deal.received, Leg.CUSTOMER),
        ("sent", deal.sent, Leg.SUPPLIER),
    )
    units: set[str] = set()
    for word, direction, leg in sides:
        if direction is None:
            continue
        named = [a for a in agreements.values() if a.agreement == direction.agreement]
        place = (located.file, located.line((word, "agreement")), f"{word}.agreement")
        if not named:
            yield Problem("is no agreement", *place, direction.agreement)
        elif {a.partner for a in named} != {deal.partner}:
            yield Problem(f"is not an agreement of {deal.partner}", *place, direction.agreement)
        elif {a.leg for a in named} != {leg}:
            yield Problem(f"must be an agreement of the {leg} leg", *place, direction.agreement)
        units |= {a.priced_unit for a in named}
    if deal.balance and len(units) > 1:
        said = f"balances {' against '.join(sorted(units))}s"
        yield Problem(said, located.file, located.line(("balance",)), "balance")


def _term_problems(
    terms: Agreement, file: str, agreements: Mapping[str, Agreement]
) -> Iterator[Problem]:
    """Names used twice, and agreements that a term counts without being alike."""
    names = [*(rule.rule for rule in terms.volume), *(one.share for one in terms.shares)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield Problem("is the name of two rules", file, None, "volume", twice[0])
    yield from _percentage_problems(terms, file)
    yield from _spend_problems(terms, file, agreements)
    yield from _part_problems(terms, file, agreements)
    names = [one.commitment for one in terms.commitments]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield Problem("is the name of two commitments", file, None, "commitments", twice[0])
    for field, term in [
        *(("volume", rule) for rule in terms.volume),
        *(("commitments", one) for one in terms.commitments),
    ]:
        for name in term.agreements:
            named = [a for a in agreements.values() if a.agreement == name]
            alike = {(a.partner, a.leg, a.currency) for a in named}
            place = (file, None, f"{field}.agreements")
            if not named:
                yield Problem("is no agreement", *place, name)
            elif alike != {(terms.partner, terms.leg, terms.currency)}:
                said = f"must be of the partner, leg and currency of {terms.agreement}"
                yield Problem(said, *place, name)
            elif _counts_units(term) and {a.priced_unit for a in named} != {terms.priced_unit}:
                yield Problem(f"must be priced by {terms.priced_unit}", *place, name)


def unrated_destinations(terms: Agreement, rated: Set[str], file: str) -> Iterator[Problem]:
    """Destinations that shares and percentages name and no rate does: their usage goes free."""
    for field, name, term in [
        *((f"shares.{n}", one.share, one) for n, one in enumerate(terms.shares)),
        *((f"percentages.{n}", one.percentage, one) for n, one in enumerate(terms.percentages)),
    ]:
        for destination in sorted(set(term.destinations) - rated):
            said = f"is no destination of the agreement's rates, and {name} names it"
            yield Problem(said, file, None, f"{field}.destinations", destination)


def idle_terms(terms: Agreement, file: str, life: Life) -> Iterator[Problem]:
    """Terms that would count or charge nothing, whatever comes: a name or a day is mistaken.

    `life` has the versions of every agreement.
    """
    for field, name, term in [
        *((f"volume.{n}", one.rule, one) for n, one in enumerate(terms.volume)),
        *((f"commitments.{n}", one.commitment, one) for n, one in enumerate(terms.commitments)),
        *((f"shares.{n}", one.share, one) for n, one in enumerate(terms.shares)),
    ]:
        others = term.agreements if isinstance(term, Counted) else ()
        counted = [of for base in others or (terms.agreement,) for of in life[base]]
        rated = set().union(*(of.destinations for of in counted))
        held = set().union(*(of.accounts for of in counted))
        for what, named, known in (
            ("destination", term.destinations, rated),
            ("account", term.accounts, held),
        ):
            for one in sorted(set(named) - known):
                said = f"is no {what} of what {name} counts"
                yield Problem(said, file, None, f"{field}.{what}s", one)
        if not any(of.meets(term.valid_from, term.valid_to) for of in life[terms.agreement]):
            said = f"{name} holds on no day of {terms.agreement}"
            yield Problem(said, file, None, field)
    for number, fee in enumerate(terms.one_time):
        if not any(of.meets(fee.day, fee.day + timedelta(days=1)) for of in life[terms.agreement]):
            said = f"is no day of {terms.agreement}: {fee.fee} would never be charged"
            yield Problem(said, file, None, f"one_time.{number}.on", str(fee.day))


def idle_deals(deals: Sequence[tuple[Deal, Located]], life: Life) -> Iterator[Problem]:
    """Deals, the same way: destinations without a rate, days without their agreement."""
    for deal, located in deals:
        for word in ("received", "sent"):
            direction: Direction | None = getattr(deal, word)
            if direction is None:
                continue
            versions = life[direction.agreement]
            place = (located.file, located.line((word,)), word)
            for one in sorted(
                set(direction.destinations).difference(*(of.destinations for of in versions))
            ):
                yield Problem(f"is no destination of {direction.agreement}", *place, one)
            if not any(of.meets(deal.valid_from, deal.valid_to) for of in versions):
                said = f"{direction.agreement} holds on no day of {deal.deal}"
                yield Problem(said, *place)


def _percentage_problems(terms: Agreement, file: str) -> Iterator[Problem]:
    """Volume rules of whose one line a percentage names some destinations and not others."""
    together = [
        rule
        for rule in terms.volume
        if rule.model in ("all_unit", "bundle")
        or (rule.model == "graduated" and not rule.in_call_order)
    ]
    for number, one in enumerate(terms.percentages):
        named = set(one.destinations)
        for rule in together if named else []:
            priced = set(rule.destinations)
            if not priced or (priced & named and not priced <= named):
                said = f"names a part of what {rule.rule} prices together"
                yield Problem(said, file, None, f"percentages.{number}.destinations", rule.rule)


def _spend_problems(
    terms: Agreement, file: str, agreements: Mapping[str, Agreement]
) -> Iterator[Problem]:
    """Rules of whose charge a term on the spend counts a part: how much of it is not agreed."""
    fields = [
        *((f"volume.{n}", one) for n, one in enumerate(terms.volume) if one.model == "discount"),
        *((f"commitments.{n}", one) for n, one in enumerate(terms.commitments) if one.amount),
    ]
    others = [a for a in agreements.values() if a.agreement != terms.agreement]
    for field, term in fields:
        for of in (terms, *others):
            for rule in (*of.volume, *of.shares):
                if getattr(rule, "model", "") not in CREDITS and (
                    what := _counted_in_part(terms, term, of, rule)
                ):
                    said = f"names a part of what {rule.name} prices together"
                    yield Problem(said, file, None, f"{field}.{what}", rule.name)


def _counted_in_part(
    terms: Agreement, term: Counted, of: Agreement, rule: VolumeRule | RevenueShare
) -> str:
    """The field by which a term counts some of a rule's usage and not all; empty when none."""
    is_share = isinstance(rule, RevenueShare)
    apart = "by_destination" if is_share else rule.accumulate
    named = () if is_share else rule.agreements
    parts: list[str] = []
    for field, counted, priced in (
        ("agreements", term.agreements or (terms.agreement,), named or (of.agreement,)),
        ("destinations", term.destinations, rule.destinations),
        ("accounts", term.accounts, rule.accounts),
    ):
        if not counted or (priced and set(priced) <= set(counted)):
            continue
        if priced and not set(priced) & set(counted):
            return ""
        if apart != f"by_{field[:-1]}":
            parts.append(field)
    return parts[0] if parts else ""


def _part_problems(
    terms: Agreement, file: str, agreements: Mapping[str, Agreement]
) -> Iterator[Problem]:
    """Parts of shares that are none, or in which the partner has no part."""
    for number, one in enumerate(terms.parts):
        named = [a for a in agreements.values() if a.agreement == one.agreement]
        rules = [rule for a in named for rule in a.shares if rule.share == one.share]
        place = (file, None, f"parts.{number}")
        if not rules:
            yield Problem("names no share of an agreement", *place, f"{one.agreement} {one.share}")
        elif {a.currency for a in named} != {terms.currency}:
            yield Problem(f"must be in {terms.currency} as this agreement is", *place)
        elif terms.partner in {a.partner for a in named}:
            yield Problem(f"is an agreement of {terms.partner} itself", *place, one.agreement)
        elif any(rule.model not in CREDITS for a in named for rule in a.volume):
            yield Problem("has volume rules: its usage cannot be shared", *place, one.agreement)
        elif not any(terms.partner in rule.parties for rule in rules):
            yield Problem(f"names no part of {terms.partner}", *place, one.share)
        elif terms.leg is Leg.CUSTOMER and not all(rule.chain for rule in rules):
            yield Problem("is no chain: nothing is passed on to us", *place, one.share)


def _counts_units(term: object) -> bool:
    model = getattr(term, "model", None)
    return model not in (None, "discount") or getattr(term, "quantity", None) is not None
