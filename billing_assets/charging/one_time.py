"""One-time fees: charged exactly once, whatever is run again (I04)."""

from fractions import Fraction

from billing_assets.charging.line import Facts, Line, plain, rule_line


def one_time_lines(facts: Facts) -> list[Line]:
    """The one-time fees of the days that a cycle bills, in the version in force on their day.

    A fee that was agreed after its day's cycle became final falls to the next one.
    """
    lines = []
    for agreement in facts.agreements:
        terms = agreement.terms
        begins, ends = agreement.local_days
        for fee in terms.one_time:
            due = begins <= fee.day < ends and facts.bills_day(fee.day)
            if not due or (terms.agreement, fee.fee) in facts.charged_once:
                continue
            lines.append(
                rule_line(
                    terms,
                    key=("one_time", terms.agreement, fee.fee),
                    kind="one_time",
                    title=fee.title,
                    days=(fee.day, fee.day),
                    exact=Fraction(fee.price) * Fraction(fee.quantity),
                    steps=[
                        f"{plain(fee.quantity)} x {plain(fee.price)} {terms.currency}, "
                        f"once, on {fee.day}"
                    ],
                    rule=f"one-time fee {fee.fee}",
                    quantity=fee.quantity,
                    unit="unit",
                    price=fee.price,
                    inputs={"fee": fee.fee},
                )
            )
    return lines
