"""The terms of an agreement as the integers that the kernel reads."""

from dataclasses import dataclass

from billing_assets.core.money import minor_units, to_e10
from billing_assets.reference.models import Agreement, Service


@dataclass(frozen=True)
class Terms:
    """What an agreement and a rate row say about one price, as integers.

    `per` is how many units (seconds, messages, bytes) a price is for; `step` is the smallest
    amount in 10^-10 units after rounding; a cap of -1 is none. Rows are deduplicated: kernels
    gather from a table of a few hundred of them.
    """

    first: int
    next: int
    setup_e10: int
    minimum_e10: int
    cap_e10: int
    attempt_e10: int
    per: int
    step: int
    method: str
    sign: int
    from_setup: bool
    duration_rounding: str
    minimum_duration: int
    grace: int
    grace_deducts: bool
    zero_duration: bool
    by_segment: bool
    on_delivery: bool
    delivered: tuple[str, ...]


def terms_of(agreement: Agreement, row: tuple[int, int, int, int, int | None] | None) -> Terms:
    """The integer terms of an agreement with those of a rate row, if any.

    `row` is (first_units, next_units, setup_fee_e10, minimum_e10, cap_e10).
    """
    if row is None:
        cap = None if agreement.cap is None else to_e10(agreement.cap)
        row = (
            agreement.increments.first,
            agreement.increments.next,
            to_e10(agreement.setup_fee),
            to_e10(agreement.minimum),
            cap,
        )
    first, following, setup, minimum, cap = row
    rounding = agreement.rounding.record
    decimals = minor_units(agreement.currency) if rounding.decimals is None else rounding.decimals
    return Terms(
        first=first,
        next=following,
        setup_e10=setup,
        minimum_e10=minimum,
        cap_e10=-1 if cap is None else cap,
        attempt_e10=to_e10(agreement.attempt_fee),
        per=units_per_price(agreement),
        step=10 ** (10 - decimals),
        method=rounding.method.value,
        sign=-1 if agreement.reverse else 1,
        from_setup=agreement.duration.start == "setup",
        duration_rounding=agreement.duration.rounding,
        minimum_duration=agreement.minimum_duration,
        grace=agreement.grace.seconds if agreement.grace else 0,
        grace_deducts=bool(agreement.grace and agreement.grace.mode == "deduction"),
        zero_duration=agreement.charge_zero_duration,
        by_segment=agreement.priced_unit == "segment",
        on_delivery=agreement.service is Service.SMS and agreement.charge_on == "delivery",
        delivered=agreement.delivered,
    )


def units_per_price(agreement: Agreement) -> int:
    """How many counted units (seconds, messages, bytes, events) one price is for."""
    return {
        "minute": 60,
        "kb": agreement.unit_base,
        "mb": agreement.unit_base**2,
    }.get(agreement.priced_unit, 1)


def default_terms() -> Terms:
    """Terms under which a second is a unit, for legs without an agreement."""
    return Terms(
        1, 1, 0, 0, -1, 0, 1, 1, "half_up", 1, False, "up", 0, 0, False, False, False, False, ()
    )
