"""The form of `controls.yaml`: which controls block, who owns them, and their thresholds.

Every threshold has a default, so the file may be absent; a partner may differ from the rest.
Usual targets: catalogue 3.7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import WHOLE, Codes, DecimalText
from billing_assets.reference.wording import place, said


class Severity(StrEnum):
    """What a finding does: stops the cycle, asks for a look, is told, or is not looked for."""

    BLOCKING = "blocking"
    WARNING = "warning"
    INFO = "info"
    OFF = "off"


@dataclass(frozen=True)
class Rule:
    """One rule of the pre-invoice validation, as it is unless `controls.yaml` says otherwise.

    `waivable`: a named person may let the cycle pass; without it the cause must be mended.
    """

    severity: Severity
    owner: str
    about: str
    waivable: bool = True


_BLOCKING, _WARNING = Severity.BLOCKING, Severity.WARNING

RULES: Mapping[str, Rule] = {
    "record_balance": Rule(
        _BLOCKING, "mediation", "every row of the files of the cycle's days has one fate"
    ),
    "charges_add_up": Rule(
        _BLOCKING,
        "billing",
        "usage lines and replaced usage are not what was rated",
        waivable=False,
    ),
    "missing_days": Rule(_WARNING, "mediation", "a day without records where there usually are"),
    "missing_hours": Rule(_WARNING, "mediation", "an hour without records where there usually are"),
    "sequence_gap": Rule(_WARNING, "mediation", "file numbers of the partner's switches missing"),
    "switch_counters": Rule(
        _WARNING, "mediation", "a day's records are not what its switches counted"
    ),
    "suspense": Rule(_BLOCKING, "rating", "share or value in suspense over its threshold"),
    "suspense_open": Rule(_WARNING, "rating", "some traffic in suspense, below the threshold"),
    "suspense_age": Rule(_WARNING, "rating", "records in suspense longer than allowed"),
    "missing_samples": Rule(
        _BLOCKING, "network operations", "capacity by fewer samples than its interval asks for"
    ),
    "unmet_take": Rule(
        _BLOCKING, "billing", "a share has too little for a required part or a price passed on"
    ),
    "zero_rate": Rule(_WARNING, "rating", "answered traffic at a rate of zero"),
    "invalid_destination": Rule(_WARNING, "rating", "answered traffic without valid destination"),
    "missing_fixing": Rule(_BLOCKING, "finance", "no exchange rate for the cycle's currency"),
    "tax_rule": Rule(
        _BLOCKING, "tax", "no rule says how a supply of the cycle is taxed", waivable=False
    ),
    "tax_certificate": Rule(_WARNING, "tax", "a certificate lapsed: tax is as without it"),
    "vat_id": Rule(_BLOCKING, "tax", "VAT id missing or of a wrong form"),
    "vat_validity": Rule(_BLOCKING, "tax", "VAT id lapsed, or its check too old"),
    "partner_data": Rule(_WARNING, "partner data", "master data that documents need are missing"),
    "negative_amount": Rule(_BLOCKING, "billing", "a usage charge below zero"),
    "change": Rule(_WARNING, "revenue assurance", "net money far from the last cycles'"),
    "empty_cycle": Rule(_WARNING, "revenue assurance", "an active partner without any charge"),
    "document": Rule(_BLOCKING, "billing", "a document that cannot be made", waivable=False),
}
"""The rules by id (catalogue 3.7 and 4.1, WD3)."""

Share = Annotated[DecimalText, Field(ge=0)]
Fraction = Annotated[DecimalText, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0), WHOLE]


class Thresholds(Form):
    """Numbers that tell when a control speaks; shares and fractions are of 1."""

    suspense_share: Fraction = Decimal("0.01")
    suspense_value: Share | None = None
    suspense_age_days: Count = 5
    usual_day: Count = 50
    usual_hour: Count = 30
    profile_days: Annotated[int, Field(ge=7, le=120), WHOLE] = 28
    fixing_age_days: Count = 7
    vat_check_days: Count = 365
    change_share: Share = Decimal("0.5")
    change_cycles: Annotated[int, Field(ge=1, le=24), WHOLE] = 3
    spike_score: Share = Decimal(6)
    spike_records: Count = 30
    quality_attempts: Count = 100
    asr_shift: Fraction = Decimal("0.15")
    ner_shift: Fraction = Decimal("0.10")
    acd_shift: Share = Decimal("0.5")
    short_seconds: Count = 6
    short_share: Fraction = Decimal("0.18")
    new_destination_value: Share = Decimal(100)
    calm_jump: Share = Decimal(3)
    high_risk_minutes: Share = Decimal(10)
    counter_share: Fraction = Decimal("0.001")
    sample_records: Annotated[int, Field(ge=0, le=100_000), WHOLE] = 200


class RuleTerms(Form):
    """What differs from a rule's own severity and owner."""

    severity: Severity | None = None
    owner: Name | None = None


Rules = dict[str, RuleTerms]


class PartnerControls(Form):
    """What differs for one partner."""

    rules: Rules = Field(default_factory=dict)
    thresholds: dict[str, object] = Field(default_factory=dict)


class Controls(Form):
    """The file `controls.yaml`.

    `high_risk` are codes of international revenue share fraud (IRSF).
    """

    rules: Rules = Field(default_factory=dict)
    thresholds: Thresholds = Thresholds()
    partners: dict[Identifier, PartnerControls] = Field(default_factory=dict)
    high_risk: Codes = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_what_exists(self) -> "Controls":
        places: dict[str, Rules] = {"rules": self.rules}
        places |= {f"partners.{name}.rules": one.rules for name, one in self.partners.items()}
        for at, rules in places.items():
            unknown = sorted(set(rules) - set(RULES))
            if unknown:
                raise ValueError(f"{at}: there is no rule {unknown[0]}; known: {', '.join(RULES)}")
        for name in self.partners:
            try:
                self.thresholds_of(name)
            except ValidationError as error:
                one = error.errors()[0]
                field = ".".join(str(part) for part in place(one))
                raise ValueError(f"partners.{name}.thresholds.{field}: {said(one)}") from error
        return self

    def thresholds_of(self, partner: str) -> Thresholds:
        """The thresholds that hold for a partner."""
        own = self.partners[partner].thresholds if partner in self.partners else {}
        if not own:
            return self.thresholds
        return TypeAdapter(Thresholds).validate_python(
            {**{name: getattr(self.thresholds, name) for name in Thresholds.model_fields}, **own}
        )

    def rule_of(self, partner: str, rule: str) -> Rule:
        """A rule of `RULES` with the severity and the owner that hold for a partner."""
        known = RULES[rule]
        found = (
            self.rules.get(rule),
            self.partners.get(partner, PartnerControls()).rules.get(rule),
        )
        severity, owner = known.severity, known.owner
        for terms in filter(None, found):
            severity, owner = terms.severity or severity, terms.owner or owner
        return Rule(severity, owner, known.about, known.waivable)
