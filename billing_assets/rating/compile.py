"""Compiling a UTC day's reference data into a rating plan."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import repeat

import numpy as np
import polars as pl

from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.core.ids import bucket_of, event_code
from billing_assets.core.money import to_e10
from billing_assets.rating.codes import build_code_index
from billing_assets.rating.deck_nodes import DeckNodes, DeckRows, HeldRows, inherit, stack_decks
from billing_assets.rating.plan import (
    A_KINDS,
    DAYS_AFTER,
    DAYS_BEFORE,
    FAR,
    JURISDICTIONS,
    MIXED,
    NO_AGREEMENT,
    NO_RATE,
    NO_ROW,
    NO_TERMS,
    OUTSIDE,
    SERVICES,
    STAMPS,
    LegPlan,
    PlanRow,
    RatingPlan,
    content_hash,
)
from billing_assets.rating.rate_rows import DeckOffers, RateRows
from billing_assets.rating.terms import default_terms, terms_of
from billing_assets.rating.timeline import Stretch, timeline
from billing_assets.reference.load import InForce, Reference
from billing_assets.reference.models import Agreement, Calendar, Leg
from billing_assets.reference.trunks import trunk_validity


def compile_plan(reference: Reference, day: date, *, buckets: int) -> RatingPlan:
    """Compile the reference data that hold on a UTC day.

    The plan covers days around it too, so that setup and end stamps and calls over midnight find
    their terms.
    """
    return _Compiler(reference, day, buckets).compile()


class _Compiler:
    """Collects plan rows, rate sets and rate rows of one day."""

    def __init__(self, reference: Reference, day: date, buckets: int) -> None:
        self.reference = reference
        self.day = day
        self.buckets = buckets
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        self.start = midnight - timedelta(days=DAYS_BEFORE)
        self.seconds = (DAYS_BEFORE + DAYS_AFTER) * 86400
        self.end = self.start + timedelta(seconds=self.seconds)
        self.rows: dict[PlanRow, int] = {}
        self.row_list: list[PlanRow] = []
        self.rate_rows = RateRows()
        self.class_names: list[str] = [""]
        self.origin_tables: list[np.ndarray] = []
        self.kind_tables: list[list[int]] = []
        self.state_tables: list[np.ndarray] = []
        self.rate_sets: list[np.ndarray] = []
        self.rate_cells = 0
        self.rate_set_of: dict[tuple[str, int, str], int] = {}
        self.blocks: dict[tuple[str, int, int], int] = {}
        self.unpriced: dict[str, int] = {}
        self.schemes: dict[str, tuple[int, int]] = {}
        self.event_types: dict[str, int] = {}
        self.splitting: dict[str, int] = {}
        self.decks: dict[str, DeckNodes] = {}
        self.deck_rows: dict[str, DeckRows] = {}
        self.deck_offers: dict[str, DeckOffers] = {}
        self.deck_changes: dict[str, list[datetime]] = {}
        # rows without an agreement gather from deck 0, which has no code, and find their own rate
        for row in (NO_ROW, NO_AGREEMENT, OUTSIDE):
            unpriced = self.rate_rows.add_unpriced(default_terms(), NO_TERMS + row)
            self.rate_sets.append(np.array([unpriced]))
            self.row_list.append(
                PlanRow(-1, -1, "", "", "", "", 0, "", 0, 0, row, 0, -1, 0, "dialled", -1, -1, -1)
            )
        self.rate_cells = len(self.row_list)

    def compile(self) -> RatingPlan:
        active = [
            a
            for a in self.reference.agreements
            if not a.terms.parts and a.start < self.end and self.start < a.end
        ]
        self._read_decks(active)
        self.callers = build_code_index(_calling_codes(active), head=4)
        self.event_types = {
            name: event_code(name)
            for a in active
            if a.terms.match == "event_type"
            for rate in a.terms.rates
            for name in rate.codes
        }
        splitting = [a for a in active if a.terms.crossing == "split"]
        self.splitting = {a.terms.key: number for number, a in enumerate(splitting)}
        trunks, own = self._trunks()
        stretches = {a.terms.key: self._stretches(a) for a in active}
        # of no use from here, where memory peaks
        self.deck_rows.clear()
        self.deck_offers.clear()
        spans = [self._spans(leg, active, stretches) for leg in Leg]
        painted = (edge for leg in spans for span in leg for edge in span[:2])
        changes = (
            self._clip(stretch.start) for a in splitting for stretch, _ in stretches[a.terms.key]
        )
        ends = (self._clip(a.end) for a in splitting)
        edges = sorted({0, self.seconds, *painted, *changes, *ends})
        starts = np.array(edges[:-1], np.int64)
        segments = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(edges))
        segment_at = {edge: number for number, edge in enumerate(edges)}
        legs = {
            leg: self._leg(leg, leg_spans, segment_at, trunks)
            for leg, leg_spans in zip(Leg, spans, strict=True)
        }
        split_sets, split_until = self._split_tables(splitting, stretches, starts)
        rates, offers, destinations = self.rate_rows.tables()
        plan = RatingPlan(
            day=self.day,
            reference=self.reference.version,
            version="",
            start=self.start,
            seconds=self.seconds,
            trunks=trunks,
            own=own,
            segments=segments,
            legs=legs,
            rows=self.row_list,
            terms=list(self.rate_rows.terms),
            codes=self.codes,
            callers=self.callers,
            decks=stack_decks(self.decks.values(), len(self.codes.codes)),
            rate_sets=np.concatenate(self.rate_sets).astype(np.uint32),
            rates=rates,
            offers=offers,
            destinations=destinations,
            class_names=self.class_names,
            origins=_stack(self.origin_tables, len(self.callers.codes), np.int16),
            kinds=np.array(self.kind_tables or [[0] * len(A_KINDS)], np.int16),
            states=_stack(self.state_tables, len(self.callers.codes), np.int16),
            event_types=self.event_types,
            split_sets=split_sets,
            split_until=split_until,
            buckets=self.buckets,
        )
        plan.version = content_hash(plan)
        return plan

    def _read_decks(self, agreements: Sequence[InForce]) -> None:
        """Index all codes, and read what each deck says: side by side, as no deck needs another."""
        keys = [agreement.terms.key for agreement in agreements]
        rows = [agreement.deck.rows for agreement in agreements]
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            codes = list(pool.map(_called_codes, agreements))
            self.deck_changes = dict(zip(keys, pool.map(_changes, rows), strict=True))
            self.deck_offers = dict(zip(keys, pool.map(DeckOffers.of, rows), strict=True))
            self.codes = build_code_index(codes)
            numbers, index = range(1, len(keys) + 1), repeat(self.codes)
            nodes = list(pool.map(DeckNodes.of, numbers, codes, index))
            self.decks = dict(zip(keys, nodes, strict=True))
            self.deck_rows = dict(zip(keys, pool.map(DeckRows.of, rows, nodes, index), strict=True))

    # trunks and time

    def _trunks(self) -> tuple[list[str], np.ndarray]:
        """All trunks that any file names, and which of them are our own side."""
        own = set(self.reference.carrier.own_trunks)
        mapped = {
            trunk.trunk
            for partner in self.reference.partners.values()
            for account in partner.accounts
            for trunk in account.trunks
        }
        trunks = sorted(own | mapped)
        return trunks, np.array([t in own and t not in mapped for t in trunks], bool)

    def _stretches(self, agreement: InForce) -> list[tuple[Stretch, int]]:
        """The agreement's timeline with the plan row of each stretch."""
        changes = [
            at for at in self.deck_changes[agreement.terms.key] if self.start < at < self.end
        ]
        calendar = self._calendar(agreement.terms)
        return [
            (stretch, self._rate_set(agreement, stretch))
            for stretch in timeline(agreement, calendar, self.start, self.end, changes)
        ]

    def _calendar(self, terms: Agreement) -> Calendar:
        name = terms.bands.calendar if terms.bands else None
        return self.reference.calendars.get(name or "", Calendar())

    def _spans(
        self,
        leg: Leg,
        agreements: Sequence[InForce],
        stretches: Mapping[str, list[tuple[Stretch, int]]],
    ) -> list[tuple[int, int, str, int, int]]:
        """Paint strokes (from second, to second, trunk, service, plan row); later ones win."""
        direction = "in" if leg is Leg.CUSTOMER else "out"
        spans: list[tuple[int, int, str, int, int]] = []
        for partner in self.reference.partners.values():
            for account in partner.accounts:
                priced = [
                    a
                    for a in agreements
                    if a.terms.partner == partner.partner
                    and a.terms.leg is leg
                    and account.account in a.terms.accounts
                ]
                for trunk in account.trunks:
                    if trunk.direction not in (direction, "both"):
                        continue
                    start, end = trunk_validity(trunk, partner.zone)
                    low, high = self._clip(start), self._clip(end)
                    if low >= high:
                        continue
                    for service in range(len(SERVICES)):
                        spans.append((low, high, trunk.trunk, service, NO_AGREEMENT))
                    for agreement in priced:
                        service = SERVICES.index(agreement.terms.service)
                        for stretch, rate_set in stretches[agreement.terms.key]:
                            row = self._row(
                                partner.partner, account.account, agreement, stretch, rate_set
                            )
                            a = max(low, self._clip(stretch.start))
                            b = min(high, self._clip(stretch.end))
                            if a < b:
                                spans.append((a, b, trunk.trunk, service, row))
        return spans

    def _clip(self, instant: datetime) -> int:
        seconds = (instant - self.start).total_seconds()
        return max(0, min(self.seconds, int(seconds)))

    def _leg(
        self,
        leg: Leg,
        spans: Iterable[tuple[int, int, str, int, int]],
        segment_at: Mapping[int, int],
        trunks: Sequence[str],
    ) -> LegPlan:
        index = {trunk: n for n, trunk in enumerate(trunks)}
        table = np.full((len(segment_at), len(trunks) + 1, len(SERVICES)), NO_ROW, np.uint32)
        table[-1, :-1] = OUTSIDE
        for low, high, trunk, service, row in spans:
            a, b = segment_at[low], segment_at[high]
            table[a:b, index[trunk], service] = row
        split_of = np.array([row.split for row in self.row_list], np.int32)
        splitting = split_of[table].max(axis=(0, 2)) >= 0
        return LegPlan(
            leg=leg,
            rows=table,
            stamps=self._stamps(table),
            split_trunks=[trunk for trunk in trunks if splitting[index[trunk]]],
        )

    def _stamps(self, table: np.ndarray) -> np.ndarray:
        """The stamp of each trunk and service: the one of all its agreements, or `MIXED`."""
        stamps = np.array([row.stamp for row in self.row_list], np.int8)[table]
        latest = stamps.max(axis=0)
        earliest = np.where(stamps < 0, np.int8(MIXED), stamps).min(axis=0)
        one = np.where(latest < 0, np.int8(STAMPS.index("answer")), latest)
        return np.where((latest >= 0) & (earliest != latest), np.int8(MIXED), one)

    def _split_tables(
        self,
        splitting: Sequence[InForce],
        stretches: Mapping[str, list[tuple[Stretch, int]]],
        starts: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rate sets and next changes of the agreements that price calls by parts.

        They follow the agreement alone: a trunk that changes hands inside a call does not change
        the price of its increments. Past the plan's last second no price is known.
        """
        sets = np.full((len(splitting), len(starts)), -1, np.int32)
        until = np.full((len(splitting), len(starts)), FAR, np.int32)
        for number, agreement in enumerate(splitting):
            change = FAR if agreement.end <= self.end else np.int32(self.seconds)
            following: tuple[int, int] | None = None
            for stretch, rate_set in reversed(stretches[agreement.terms.key]):
                low, high = self._clip(stretch.start), self._clip(stretch.end)
                if following and following[0] != rate_set:
                    change = np.int32(following[1])
                a, b = np.searchsorted(starts, (low, high))
                sets[number, a:b], until[number, a:b] = rate_set, change
                following = rate_set, low
        return sets, until

    def _row(
        self, partner: str, account: str, agreement: InForce, stretch: Stretch, rate_set: int
    ) -> int:
        terms = agreement.terms
        scheme, class_base = self._scheme(terms)
        late = terms.refuse_after_days
        row = PlanRow(
            leg=list(Leg).index(terms.leg),
            service=SERVICES.index(terms.service),
            partner=partner,
            account=account,
            agreement=terms.key,
            currency=terms.currency,
            bucket=bucket_of(partner, self.buckets),
            band=stretch.band,
            offset=stretch.offset,
            deck=self.decks[agreement.terms.key].number,
            rate_set=rate_set,
            stride=self.decks[agreement.terms.key].size,
            scheme=scheme,
            class_base=class_base,
            match=terms.match,
            stamp=STAMPS.index(terms.event_time),
            split=self.splitting.get(terms.key, -1),
            late_us=-1 if late is None else late * 86_400_000_000,
        )
        if row not in self.rows:
            self.rows[row] = len(self.row_list)
            self.row_list.append(row)
        return self.rows[row]

    # classes of the calling number

    def _scheme(self, terms: Agreement) -> tuple[int, int]:
        """The scheme of an agreement's classes, and where their names begin."""
        if terms.key in self.schemes:
            return self.schemes[terms.key]
        scheme, base = -1, 0
        if terms.origins or terms.jurisdiction:
            base = len(self.class_names)
            self.class_names += _class_names(terms)
        if terms.origins:
            self._origin_scheme(terms)
            scheme = len(self.origin_tables) - 1
        elif terms.jurisdiction:
            table = np.full(len(self.callers.codes), -1, np.int16)
            for number, codes in enumerate(terms.jurisdiction.states.values(), start=1):
                table[self.callers.ids_of(_numbers(codes))] = number
            inherit(table, self.callers.parents, self.callers.lengths)
            table[table == -1] = 0
            self.state_tables.append(table)
            scheme = -1 - len(self.state_tables)
        self.schemes[terms.key] = scheme, base
        return scheme, base

    def _origin_scheme(self, terms: Agreement) -> None:
        """Tables that tell the class of a calling number by its code or by its kind."""
        assert terms.origins
        names = _class_names(terms)
        other = names.index(terms.origins.otherwise)
        by_kind = {k: names.index(c.origin) for c in terms.origins.classes for k in c.kinds}
        table = np.full(len(self.callers.codes), -1, np.int16)
        table[self.callers.ids_of(_numbers(COUNTRY_CODES))] = other
        for one in terms.origins.classes:
            if one.codes:
                table[self.callers.ids_of(_numbers(one.codes))] = names.index(one.origin)
        inherit(table, self.callers.parents, self.callers.lengths)
        table[table == -1] = by_kind.get("invalid", other)
        self.origin_tables.append(table)
        self.kind_tables.append([-1, *(by_kind.get(kind, other) for kind in A_KINDS[1:])])

    # rates

    def _rate_set(self, agreement: InForce, stretch: Stretch) -> int:
        """Where the rates of a stretch begin: one row a deck node, class after class."""
        changes = self.deck_changes[agreement.terms.key]
        key = (agreement.terms.key, bisect_right(changes, stretch.start), stretch.band)
        if key not in self.rate_set_of:
            self.rate_set_of[key] = self.rate_cells
            valid = self.deck_rows[agreement.terms.key].at(stretch)
            for name in _class_names(agreement.terms):
                table = self._one_set(agreement, valid, name)
                self.rate_sets.append(table)
                self.rate_cells += len(table)
        return self.rate_set_of[key]

    def _one_set(self, agreement: InForce, valid: HeldRows, origin: str) -> np.ndarray:
        """`deck node -> rate row` for one class: longest code, then the most specific row."""
        terms, deck = agreement.terms, self.decks[agreement.terms.key]
        per_unit, per_call = _origin_surcharge(terms, origin)
        block, none = self._block(agreement, per_unit, per_call), self._unpriced(terms)
        table = np.full(deck.size, -1, np.int32)
        if terms.bands or terms.origins or terms.jurisdiction:
            table[valid.nodes] = none
            for fitting in valid.fitting(origin):
                table[valid.nodes[fitting]] = block + valid.rows[fitting]
        else:
            table[valid.nodes] = block + valid.rows
        deck.inherit(table, none)
        return self._with_surcharges(terms, deck, table, block)

    def _with_surcharges(
        self, terms: Agreement, deck: DeckNodes, table: np.ndarray, block: int
    ) -> np.ndarray:
        """Add surcharges of called codes: each pair of rate row and surcharge is a rate row."""
        if not terms.surcharges:
            return table
        added = np.full(deck.size, -1, np.int32)
        for number, surcharge in enumerate(terms.surcharges):
            added[deck.nodes_of(_numbers(surcharge.codes), self.codes)] = number
        deck.inherit(added, none=-1)
        pairs = np.flatnonzero((added >= 0) & (table != self._unpriced(terms)))
        if not len(pairs):
            return table
        table = table.copy()
        table[pairs] = self.rate_rows.add_surcharged(
            block, table[pairs], added[pairs], terms.surcharges
        )
        return table

    def _unpriced(self, terms: Agreement) -> int:
        """The rate row of an agreement's numbers that have no rate."""
        if terms.key not in self.unpriced:
            self.unpriced[terms.key] = self.rate_rows.add_unpriced(terms_of(terms, None), NO_RATE)
        return self.unpriced[terms.key]

    def _block(self, agreement: InForce, per_unit: int, per_call: int) -> int:
        """The agreement's deck rows as rate rows with an origin surcharge."""
        key = (agreement.terms.key, per_unit, per_call)
        if key not in self.blocks:
            offers = self.deck_offers[agreement.terms.key]
            self.blocks[key] = self.rate_rows.add_deck(agreement.terms, offers, per_unit, per_call)
        return self.blocks[key]


def _numbers(codes: Iterable[str]) -> np.ndarray:
    return np.array(sorted(int(code) for code in codes), np.int64)


def _called_codes(agreement: InForce) -> np.ndarray:
    """The codes that an agreement can tell apart: those of its deck and its surcharges."""
    surcharged = [pl.Series(_numbers(one.codes)) for one in agreement.terms.surcharges]
    return pl.concat([agreement.deck.rows["code"], *surcharged]).unique().sort().to_numpy()


def _changes(rows: pl.DataFrame) -> list[datetime]:
    """The instants at which any row of a deck begins or ends, in order."""
    return pl.concat([rows["valid_from"], rows["valid_to"]]).drop_nulls().unique().sort().to_list()


def _calling_codes(agreements: Iterable[InForce]) -> Iterable[np.ndarray]:
    """Codes by which an A-number is classed: countries, origin lists and states."""
    yield _numbers(COUNTRY_CODES)
    for agreement in agreements:
        terms = agreement.terms
        if terms.origins:
            for one in terms.origins.classes:
                yield _numbers(one.codes)
        if terms.jurisdiction:
            for codes in terms.jurisdiction.states.values():
                yield _numbers(codes)


def _class_names(terms: Agreement) -> list[str]:
    """The origin classes of an agreement, in the order in which its rate sets stand."""
    if terms.origins:
        names = [c.origin for c in terms.origins.classes] + [terms.origins.otherwise]
        return list(dict.fromkeys(names))
    if terms.jurisdiction:
        return list(JURISDICTIONS)
    return [""]


def _origin_surcharge(terms: Agreement, origin: str) -> tuple[int, int]:
    if terms.origins:
        for one in terms.origins.classes:
            if one.origin == origin:
                return to_e10(one.surcharge), to_e10(one.surcharge_per_call)
    return 0, 0


def _stack(tables: Sequence[np.ndarray], width: int, dtype: type) -> np.ndarray:
    return np.stack(tables) if tables else np.zeros((1, width), dtype)
