"""The presets by name, and the custom preset that a source's mapping describes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.intake import servers, softswitches
from billing_assets.intake.preset import CANONICAL, Preset
from billing_assets.reference.sources import FieldRule, RowRule, Source

ENCODINGS = ("utf-8", "latin-1")


@dataclass(frozen=True)
class Known:
    """A preset that sources may name: how it is made, its options, and what it is for."""

    make: Callable[[Source], Preset]
    options: tuple[str, ...] = ()
    about: str = ""


def preset_of(source: Source) -> Preset:
    """The preset that a source names, with its options.

    Raises `BillingError` for an unknown preset and for an option that it has not or cannot be.
    """
    if source.preset not in PRESETS:
        raise BillingError(
            f"source {source.source} names the preset {source.preset!r}",
            hint=f"there are {', '.join(sorted(PRESETS))}",
        )
    known = PRESETS[source.preset]
    unknown = sorted(set(source.options) - {*known.options, "encoding"})
    if unknown:
        raise BillingError(
            f"source {source.source}: preset {source.preset} has no option {', '.join(unknown)}",
            hint=f"its options are {', '.join((*known.options, 'encoding'))}",
        )
    if (source.mapping is None) == (source.preset == "mapping"):
        raise BillingError(
            f"source {source.source}: the preset mapping, and no other, has a mapping"
        )
    encoding_of(source)
    return known.make(source)


def encoding_of(source: Source) -> str:
    """The encoding of a source's files: UTF-8, or Latin-1 where its option says so."""
    encoding = source.options.get("encoding", "utf-8")
    if encoding not in ENCODINGS:
        raise BillingError(
            f"source {source.source}: encoding {encoding!r} is not {' or '.join(ENCODINGS)}"
        )
    return str(encoding)


def _mapped(source: Source) -> Preset:
    """A custom preset; raises `BillingError` for a column or field that there is not."""
    mapping = source.mapping
    assert mapping is not None
    known = (*CANONICAL, "switch")
    wrong = sorted(set(mapping.fields) - set(known))
    if wrong:
        raise BillingError(
            f"source {source.source}: mapping makes {', '.join(wrong)}, which are no fields",
            hint=f"the fields are {', '.join(known)}",
        )
    rules = mapping.fields
    named = {rule.column for rule in (*rules.values(), *mapping.only) if rule.column}
    named |= {mapping.answered.column} if mapping.answered else set()
    columns = mapping.columns
    missing = sorted(named - set(columns)) if columns is not None else []
    if missing:
        raise BillingError(
            f"source {source.source}: mapping uses the columns {', '.join(missing)}",
            hint=f"its columns are {', '.join(columns or ())}",
        )
    own = {name: pl.col(name) for name in known if name in (columns or ()) and name not in rules}
    canonical = {**own, **{name: _made(rule) for name, rule in rules.items()}}
    if mapping.service is not None:
        canonical["service"] = pl.lit(mapping.service.value)
    if mapping.answered is not None:
        answered = _fits(mapping.answered)
        for name in ("answer_time", "duration_ms"):
            if name in canonical:
                canonical[name] = pl.when(answered).then(canonical[name])
    skipped = [~_fits(rule) for rule in mapping.only]
    return Preset(
        columns=columns,
        named=tuple(sorted(named)) if columns is None else None,
        separator=mapping.separator,
        quoted=mapping.quoted,
        fewest=len(columns) if columns and mapping.further_columns else None,
        canonical=canonical,
        stamps=mapping.stamps,
        unit_ms={"ms": 1, "10ms": 10, "s": 1000}[mapping.unit],
        passed_over=pl.any_horizontal(skipped) if skipped else None,
    )


def _made(rule: FieldRule) -> pl.Expr:
    if rule.constant is not None:
        return pl.lit(rule.constant)
    text = pl.col(rule.column)
    if rule.pattern:
        text = text.str.extract(rule.pattern, 1)
    return text.replace(rule.values) if rule.values else text


def _fits(rule: RowRule) -> pl.Expr:
    text = pl.col(rule.column).fill_null("")
    if rule.values:
        return text.is_in(list(rule.values))
    return text.str.contains(f"^(?:{rule.pattern})$")


_TRUNKS = ("in_trunk", "out_trunk")
_SERVER = ("extra_columns", "a_number", "b_number", "call_id", *_TRUNKS)

PRESETS: Mapping[str, Known] = {
    "canonical-csv": Known(
        lambda _: Preset(columns=None), (), "our own names in a header, in any order"
    ),
    "canonical-jsonl": Known(
        lambda _: Preset(columns=None, objects=True), (), "our own names, an object a line"
    ),
    "canonical-parquet": Known(
        lambda _: Preset(columns=None, parquet=True), (), "our own names as Parquet columns"
    ),
    "freeswitch": Known(
        softswitches.freeswitch,
        ("template", "extra_columns", *_TRUNKS),
        "mod_cdr_csv, templates example, sql and asterisk",
    ),
    "asterisk": Known(
        softswitches.asterisk, ("columns", "loguniqueid", *_TRUNKS), "cdr_csv, 16 to 21 columns"
    ),
    "asterisk-custom": Known(
        softswitches.asterisk_custom, _TRUNKS, "cdr_custom, columns of the sample Master.csv"
    ),
    "kamailio-acc": Known(
        servers.kamailio_acc, _SERVER, "table acc: INVITE and BYE joined to a call"
    ),
    "kamailio-cdrs": Known(servers.kamailio_cdrs, _SERVER, "table acc_cdrs with cdr_extra"),
    "opensips-acc": Known(servers.opensips_acc, _SERVER, "table acc with the flag cdr"),
    "sansay": Known(softswitches.sansay, (), "VSXi, 59 columns or more"),
    "ribbon": Known(softswitches.ribbon, _TRUNKS, "SBC Core (Sonus) ACT: STOP and ATTEMPT"),
    "oracle": Known(softswitches.oracle, (), "Oracle (Acme Packet) local CDR, 24 columns or more"),
    "kannel": Known(servers.kannel, (), "access log; texts are dropped at once"),
    "mapping": Known(_mapped, (), "any other: the source's own mapping of columns"),
}
