"""Shortfalls of commitments: tested over the whole window, charged once, in its last cycle."""

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction

from billing_assets.charging.accumulator import life, settled, windows
from billing_assets.charging.line import Facts, Line, count_text, plain, rule_line, shown_text
from billing_assets.charging.priced import Priced
from billing_assets.charging.volume import excess, missing
from billing_assets.charging.volume_lines import counted, spent
from billing_assets.reference.load import InForce
from billing_assets.reference.volume_terms import Commitment, Window


def commitment_lines(facts: Facts, priced: Priced) -> list[Line]:
    """The shortfalls that a cycle settles, and what late usage changes of settled ones."""
    return [
        line
        for agreement in facts.agreements
        for terms in agreement.terms.commitments
        for window in windows(facts, agreement, terms)
        if (line := _shortfall(facts, agreement, terms, window, priced)) is not None
    ]


def reached(
    facts: Facts, agreement: InForce, terms: Commitment, window: Window, priced: Priced
) -> tuple[Fraction, Fraction]:
    """What counts towards a commitment in a window: before this cycle's usage, and with it."""
    if terms.amount is not None:
        return spent(agreement, terms, window, priced)
    return counted(facts, agreement, terms, window)


def active_share(facts: Facts, agreement: InForce, terms: Commitment, window: Window) -> Fraction:
    """The part of a window's days on which a commitment holds, 1 unless it is prorated."""
    if not terms.prorate:
        return Fraction(1)
    first, end = terms.held(window)
    begins, ends = life(facts, agreement)
    first, end = max(first, begins), min(end, ends)
    return Fraction((end - first).days, (window[1] - window[0]).days)


def _shortfall(
    facts: Facts, agreement: InForce, terms: Commitment, window: Window, priced: Priced
) -> Line | None:
    when = settled(facts, agreement, terms.commitment, terms, window)
    if not when.now and not when.before:
        return None
    was, now = reached(facts, agreement, terms, window, priced)
    carried = _carried(facts, agreement, terms, window, priced)
    share = active_share(facts, agreement, terms, window)

    def missed(index: int) -> Fraction:
        """What is missing before this cycle's usage (0), or with it (1)."""

        def reached_by(of: InForce, one: Commitment) -> Fraction:
            return reached(facts, of, one, window, priced)[index]

        return due(facts, agreement, terms, window, priced, reached_by)

    missing_now = missed(1)
    settled_at = missed(0) if when.before else None
    short = missing_now - (settled_at or 0)
    if not short:
        return None
    price = Fraction(terms.price) if terms.price is not None else Fraction(1)
    exact = short * price * (-1 if agreement.terms.reverse else 1)
    return rule_line(
        agreement.terms,
        key=("commitment", agreement.terms.key, terms.commitment, window[0]),
        kind="shortfall",
        title=terms.name,
        days=(window[0], window[1] - timedelta(days=1)),
        exact=exact,
        steps=_steps(agreement, terms, now, carried, share, (missing_now, settled_at)),
        rule=terms.commitment,
        quantity=short if terms.price is not None else 1,
        unit=agreement.terms.priced_unit if terms.price is not None else "period",
        price=terms.price,
        inputs={
            "window": f"{window[0]}/{window[1]}",
            "before": count_text(was),
            "reached": count_text(now),
            "carried": count_text(carried),
            "share": str(share),
        },
        tax_treatment=terms.tax_treatment,
    )


def due(
    facts: Facts,
    agreement: InForce,
    terms: Commitment,
    window: Window,
    priced: Priced,
    reached_by: Callable[[InForce, Commitment], Fraction],
) -> Fraction:
    """What is missing in a window, given what commitments have reached in it.

    Nothing when the other direction of a deal with mutual release is missed too.
    """

    def short(of: InForce, one: Commitment) -> Fraction:
        return missing(
            one,
            reached_by(of, one),
            share=active_share(facts, of, one, window),
            carried=_carried(facts, of, one, window, priced),
        )

    short_here = short(agreement, terms)
    released = any(d.deal == terms.commitment and d.mutual_release for d in facts.deals)
    others = [
        (other, one)
        for other in facts.agreements
        for one in other.terms.commitments
        if released
        and one.commitment == terms.commitment
        and other.terms.agreement != agreement.terms.agreement
    ]
    if short_here and others and all(short(other, one) for other, one in others):
        return Fraction(0)
    return short_here


def _carried(
    facts: Facts, agreement: InForce, terms: Commitment, window: Window, priced: Priced
) -> Fraction:
    """What the window before has left over, if the commitment carries it."""
    earlier = terms.window(window[0] - timedelta(days=1)) if terms.carry else None
    if earlier is None:
        return Fraction(0)
    _, then = reached(facts, agreement, terms, earlier, priced)
    return excess(terms, then, share=active_share(facts, agreement, terms, earlier))


def _steps(
    agreement: InForce,
    terms: Commitment,
    now: Fraction,
    carried: Fraction,
    share: Fraction,
    missed: tuple[Fraction, Fraction | None],
) -> list[str]:
    """The derivation of a shortfall; `missed` is what is missing, and what was before."""
    currency, unit = agreement.terms.currency, agreement.terms.priced_unit
    of = currency if terms.quantity is None else f"{unit}s"
    whole = Fraction(terms.amount or terms.quantity or 0)
    short, settled_at = missed
    steps = [f"committed {shown_text(whole)} {of}"]
    if share != 1:
        steps.append(f"{share} of the days: {shown_text(whole * share)}")
    if terms.tolerance:
        floor = whole * share * (1 - Fraction(terms.tolerance))
        steps.append(f"tolerance {plain(terms.tolerance)}: {shown_text(floor)} {of}")
    steps.append(f"reached {shown_text(now)} {of}")
    if carried:
        steps.append(f"carried from the period before {shown_text(carried)} {of}")
    steps.append(f"missing {shown_text(short)} {of}")
    if settled_at is not None:
        steps.append(f"charged before: {shown_text(settled_at)} {of}")
    if terms.price is not None:
        steps.append(f"at {plain(terms.price)} {currency} a {unit}")
    return steps
