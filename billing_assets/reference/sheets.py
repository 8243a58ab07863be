"""From a sheet's cells to text rows in the house's words: codes, dates, prices and markers.

What a spreadsheet mangled is refused where digits are lost, and told where they are not. Rows
are not yet compared with what was in force, nor dated.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.ids import sha256_of
from billing_assets.reference.columns import SHEET_COLUMNS, TEXT_COLUMNS
from billing_assets.reference.findings import Finding, Kind
from billing_assets.reference.grids import Cell, Grid, Number, read_grids
from billing_assets.reference.layouts import Header, Layout, find_header
from billing_assets.reference.marks import shown_otherwise

ROW_SCHEMA = {
    **dict.fromkeys(TEXT_COLUMNS, pl.String),
    "marker": pl.String,
    "previous_rate": pl.String,
    "row": pl.Int64,
}
"""Columns of rows as text; `row` is the line of the sheet."""

_MARKERS: Mapping[str, tuple[str, ...]] = {
    "new": ("new", "new code", "new destination", "added", "add"),
    "increase": ("increase", "increased", "inc", "up", "rate increase", "raised"),
    "decrease": ("decrease", "decreased", "dec", "down", "rate decrease", "reduced"),
    "unchanged": ("unchanged", "current", "same", "no change", "none"),
    "withdrawn": ("withdrawn", "withdraw", "removed", "remove", "deleted", "delete", "closed",
                  "close", "discontinued", "code removed"),
    "blocked": ("blocked", "block", "barred"),
    "moved": ("moved", "code moved", "changed destination"),
    "pending": ("pending",),
    "open": ("open", "active", "regular"),
    "bill_and_keep": ("bill_and_keep", "bill and keep"),
}  # fmt: skip


@dataclass
class SheetReader:
    """Reads one sheet; `problems` refuse it, `findings` are told to whoever approves it.

    `required` are our names of columns that its agreement says it has.
    """

    path: str
    agreement: str
    currency: str
    layout: Layout
    required: Sequence[str] = ()
    problems: list[Problem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    at_row: list[int] = field(default_factory=list)

    def read(self, content: bytes) -> pl.DataFrame | None:
        """Rows in the columns of `ROW_SCHEMA`; None when a problem was found."""
        try:
            grids = read_grids(self.path, content)
        except ValueError as error:
            self.problems.append(Problem(f"cannot be read as a sheet: {error}", self.path))
            return None
        headers = self._headers(grids)
        if headers is None:
            return None
        frames = [self._rows(header) for header in headers]
        if self.problems:
            return None
        rows = frames[0] if len(frames) == 1 else self._joined(frames[0], frames[1])
        if self.problems:
            return None
        rows = self._prices(rows)
        self._tell_country_codes(rows)
        return rows.select(*ROW_SCHEMA).with_columns(
            pl.lit(self.path).alias("sheet"),
            pl.lit(sha256_of(content)).alias("sheet_sha256"),
        )

    # where things stand

    def _headers(self, grids: Sequence[Grid]) -> list[Header] | None:
        """The header of rates and codes together, or of both apart; else problems."""
        found = [header for grid in grids if (header := find_header(grid, self.layout))]
        if self.layout.rates or self.layout.codes:
            headers = [self._named(found, grids, name) for name in self._worksheets()]
            chosen = [header for header in headers if header]
            if len(chosen) < len(headers):
                return None
        else:
            chosen = self._told_by_headers(found)
            if self.problems:
                return None
        if not chosen:
            row, cells = grids[0].rows[0]
            self._unknown(row, [str(cell) for cell in cells if cell is not None])
            self._tell("column is missing", row, "header", "code")
            return None
        for header in chosen:
            self._unknown(header.row, header.unknown)
            names = [name for name in header.columns if name]
            for name in sorted({name for name in names if names.count(name) > 1}):
                self._tell("stands in two columns", header.row, "header", name)
        there = {name for header in chosen for name in header.columns}
        for name in dict.fromkeys(("code", *self.required)):
            if name not in there:
                self._tell("column is missing", chosen[0].row, "header", self._theirs(name))
        return None if self.problems else chosen

    def _told_by_headers(self, found: Sequence[Header]) -> list[Header]:
        """The visible worksheet of prices and codes, or that of each; two of a kind are unclear."""
        for header in (h for h in found if h.grid.is_hidden):
            self._find(Kind.PASSED_OVER, header.row, "worksheet", header.grid.name, "is hidden")
        seen = [header for header in found if not header.grid.is_hidden]
        whole = [h for h in seen if h.has_codes and h.has_prices]
        rates = [h for h in seen if h.has_prices and "destination" in h.columns]
        codes = [h for h in seen if h.has_codes and "destination" in h.columns]
        alone = [h for h in seen if h.has_codes] or seen
        kinds = [whole] if whole else [rates, codes] if rates and codes else [alone]
        for alike in kinds:
            if len(alike) > 1:
                names = " and ".join(header.grid.name for header in alike)
                self._tell(
                    "have the same kind of columns: name those of prices and codes in a layout, "
                    "as `rates` and `codes`",
                    None,
                    "worksheets",
                    names,
                )
        return [alike[0] for alike in kinds if alike]

    def _theirs(self, name: str) -> str:
        """A column of ours as it is told: by the layout's name where that is another."""
        theirs = ", ".join(self.layout.columns.get(name, ()))
        return name if theirs in ("", name) else f"{theirs} ({name})"

    def _worksheets(self) -> list[str]:
        return [name for name in (self.layout.rates, self.layout.codes) if name]

    def _named(self, found: Sequence[Header], grids: Sequence[Grid], name: str) -> Header | None:
        for header in found:
            if header.grid.name.strip().casefold() == name.strip().casefold():
                return header
        known = ", ".join(grid.name for grid in grids)
        self.problems.append(
            Problem(f"has no worksheet {name!r} with the layout's columns; it has {known}",
                    self.path)
        )  # fmt: skip
        return None

    def _unknown(self, row: int, names: Sequence[str]) -> None:
        for name in names:
            self._tell(
                f"is not a column of a rate sheet; known: {', '.join(SHEET_COLUMNS)}",
                row,
                "header",
                name,
            )

    # cells

    def _rows(self, header: Header) -> pl.DataFrame:
        """The rows below a header, as text by our names."""
        below = header.grid.rows[header.at + 1 :]
        names = header.columns
        columns: dict[str, list[Cell]] = {}
        for index, name in enumerate(names):
            if name:
                columns[name] = [row[index] if index < len(row) else None for _, row in below]
        numbers = [number for number, _ in below]
        for number, row in below:
            if len(row) > len(names):
                self._tell("is right of the last column", number, "row", str(row[len(names)]))
        keep = self._content(columns, numbers)
        columns = {name: [cells[i] for i in keep] for name, cells in columns.items()}
        self.at_row = [numbers[i] for i in keep]
        texts = {name: self._column(name, cells) for name, cells in columns.items()}
        frame = pl.DataFrame(
            {"row": self.at_row, **texts},
            schema={"row": pl.Int64, **dict.fromkeys(texts, pl.String)},
        )
        return self._marked(frame) if "status" in frame.columns else frame

    def _content(self, columns: Mapping[str, list[Cell]], numbers: Sequence[int]) -> list[int]:
        """Places of rows that say something; a line of words under the table is passed over."""
        keep = []
        for i, number in enumerate(numbers):
            filled = {name: cells[i] for name, cells in columns.items() if cells[i] is not None}
            words = [str(value) for value in filled.values()]
            if len(filled) == 1 and len(words[0]) > 15 and _WORDS.search(words[0]):
                self._find(Kind.PASSED_OVER, number, "row", words[0], "is no row of rates")
            elif filled:
                keep.append(i)
        if not keep:
            self._tell("has no row of rates below its header", None, "", "")
        return keep

    def _column(self, name: str, cells: list[Cell]) -> list[str | None]:
        if name in ("from", "to"):
            return self._dates(name, cells)
        made_dates = {i for i, cell in enumerate(cells) if isinstance(cell, date)}
        for i in sorted(made_dates):
            self._tell(
                "is a date that a spreadsheet made of what was written (1-2 becomes 1 February, "
                "6/6 becomes 6 June): write it as text",
                self.at_row[i],
                name,
                _iso(cells[i]),
            )
        texts = [None if i in made_dates else _plain(cell) for i, cell in enumerate(cells)]
        if name in ("code", "country_code"):
            return self._code_texts(name, texts)
        if name == "increments":
            return [text and _STEPS.sub(r"\1/\2", text) for text in texts]
        if name in ("rate", "first_rate", "setup_fee", "minimum", "cap", "previous_rate") or (
            name.startswith("price ")
        ):
            numbers = [cell if isinstance(cell, Number) else None for cell in cells]
            return self._amounts(name, texts, numbers)
        if name == "currency":
            for i, text in enumerate(texts):
                if text is not None and text.upper() != self.currency:
                    self._tell(
                        f"is not the agreement's currency, {self.currency}",
                        self.at_row[i],
                        name,
                        text,
                    )
        return texts

    def _code_texts(self, name: str, texts: list[str | None]) -> list[str | None]:
        for i, text in enumerate(texts):
            if text is None:
                continue
            if _EXPONENT.fullmatch(text):
                self._tell(
                    "is a number that a spreadsheet cut to a few digits, so that the code is "
                    "lost: write codes of 1 to 15 digits as text",
                    self.at_row[i],
                    name,
                    text,
                )
            elif _MADE_DATE.fullmatch(text):
                self._tell(
                    "is a date that a spreadsheet made of codes such as 1-2: write them as text",
                    self.at_row[i],
                    name,
                    text,
                )
        if name == "country_code":
            return [text and re.sub(r"^(\+|00)", "", text) for text in texts]
        return [text and re.sub(r"(?<![0-9])\+(?=[0-9])", "", text) for text in texts]

    def _amounts(
        self, name: str, texts: list[str | None], numbers: Sequence[Number | None]
    ) -> list[str | None]:
        """Plain decimals; the agreement's own currency may stand before or after."""
        comma = self.layout.decimal == ","
        found: list[str | None] = []
        for i, (text, number) in enumerate(zip(texts, numbers, strict=True)):
            if text is None:
                found.append(None)
                continue
            bare = text.removeprefix(self.currency).removesuffix(self.currency).strip()
            if number and (said := shown_otherwise(number.shown, self.currency)):
                self._tell(said, self.at_row[i], name, text)
            if comma and number is None:
                bare = self._with_point(name, i, bare)
            if _EXPONENT_RATE.fullmatch(bare):
                self._tell(
                    "is a number that a spreadsheet may have cut to a few digits: write it as a "
                    "plain decimal",
                    self.at_row[i],
                    name,
                    text,
                )
            found.append(bare)
        return found

    def _with_point(self, name: str, i: int, text: str) -> str:
        """A decimal written with a comma, and points between thousands, as a plain decimal."""
        if "," in text and not _COMMA_DECIMAL.fullmatch(text):
            said = "is not a decimal with a comma, and points between thousands alone"
            self._tell(said, self.at_row[i], name, text)
        elif _THOUSANDS.fullmatch(text):
            self._tell(
                "may be thousands or a decimal: write it with a decimal comma or without the point",
                self.at_row[i],
                name,
                text,
            )
        return text.replace(".", "").replace(",", ".") if "," in text else text

    def _dates(self, name: str, cells: list[Cell]) -> list[str | None]:
        """ISO dates; 03/04/2026 is read by a test over the whole column."""
        slashed = {
            i: (int(m[1]), int(m[2]))
            for i, cell in enumerate(cells)
            if isinstance(cell, str) and (m := _SLASHED.fullmatch(cell))
        }
        order = self._order(name, slashed, cells)
        if slashed and any(isinstance(cell, date) for cell in cells):
            i = next(i for i, cell in enumerate(cells) if isinstance(cell, date))
            self._tell(
                "stands among dates kept as text: a spreadsheet that takes them for another "
                "order of day and month has turned some; write all as 2026-03-01",
                self.at_row[i],
                name,
                _iso(cells[i]),
            )
        return [self._date(name, i, cell, order) for i, cell in enumerate(cells)]

    def _order(self, name: str, slashed: Mapping[int, tuple[int, int]], cells: list[Cell]) -> str:
        if self.layout.dates != "auto" or not slashed:
            return self.layout.dates
        day_first = any(first > 12 for first, _ in slashed.values())
        month_first = any(second > 12 for _, second in slashed.values())
        unclear = [i for i, (first, second) in slashed.items() if first != second]
        if day_first != month_first:
            order = "dmy" if day_first else "mdy"
            first = "day" if day_first else "month"
            self._find(
                Kind.MANGLED, None, name, "", f"has the {first} first, as other dates of it show"
            )
            return order
        if day_first:
            self._tell("has dates with the day first and with the month first", None, name, "")
        elif unclear:
            self._tell(
                "may have the day or the month first, and no date of the column tells: say "
                "`dates: dmy` or mdy in a layout, or write 2026-03-01",
                self.at_row[unclear[0]],
                name,
                str(cells[unclear[0]]),
            )
        return "dmy"

    def _date(self, name: str, i: int, cell: Cell, order: str) -> str | None:
        if cell is None or isinstance(cell, date):
            return None if cell is None else _iso(cell)
        if match := _SLASHED.fullmatch(cell):
            first, second, year = int(match[1]), int(match[2]), int(match[3])
            day, month = (first, second) if order != "mdy" else (second, first)
            return self._day(name, i, cell, year, month, day)
        if match := _DOTTED.fullmatch(cell):
            return self._day(name, i, cell, int(match[3]), int(match[2]), int(match[1]))
        if match := _WORDED.fullmatch(cell):
            month = _MONTHS.index(match[2].lower()) + 1
            return self._day(name, i, cell, int(match[3]), month, int(match[1]))
        if re.fullmatch(r"[2-7][0-9]{4}", cell):
            day = date(1899, 12, 30) + timedelta(days=int(cell))
            self._find(
                Kind.MANGLED, self.at_row[i], name, cell, f"is a spreadsheet's number of {day}"
            )
            return day.isoformat()
        return cell

    def _day(self, name: str, i: int, cell: str, year: int, month: int, day: int) -> str | None:
        try:
            return date(year if year > 99 else 2000 + year, month, day).isoformat()
        except ValueError:
            self._tell("is not a day of the calendar", self.at_row[i], name, cell)
            return None

    # rows

    def _marked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Their words of a row's status as ours; rows that are pending are passed over."""
        words = {w.casefold(): ours for ours, listed in _MARKERS.items() for w in listed}
        words |= {w.casefold(): ours for ours, listed in self.layout.words.items() for w in listed}
        known: dict[str, str] = {}
        for text in rows["status"].drop_nulls().unique():
            key = " ".join(text.casefold().split())
            ours = words.get(key, "moved" if key.startswith("code moved to ") else None)
            if ours:
                known[text] = ours
        for row, text in rows.select("row", "status").iter_rows():
            if text is not None and text not in known:
                self._tell(
                    f"is no word for a status; known: {', '.join(_MARKERS)}, and `words` of the "
                    "layout",
                    row,
                    "status",
                    text,
                )
        ours = pl.col("status").replace_strict(known, default=None, return_dtype=pl.String)
        rows = rows.with_columns(ours.alias("marker"))
        for row in rows.filter(pl.col("marker") == "pending")["row"]:
            self._find(Kind.PASSED_OVER, row, "status", "pending", "is not agreed yet: not loaded")
        states = ["open", "blocked", "bill_and_keep", "withdrawn"]
        return rows.filter(pl.col("marker").ne_missing("pending")).with_columns(
            pl.when(pl.col("marker").is_in(states)).then("marker").alias("status"),
            pl.when(~pl.col("marker").is_in(["open", "bill_and_keep"])).then("marker"),
        )

    def _joined(self, rates: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
        """Rates with the codes of their destinations, from another worksheet."""
        key = pl.col("destination").str.to_lowercase().str.replace_all(r"\s+", " ").alias("_key")
        rates, codes = rates.with_columns(key), codes.with_columns(key)
        for row, name in (
            rates.join(codes, on="_key", how="anti").select("row", "destination").iter_rows()
        ):
            self._tell("has no codes on the other worksheet", row, "destination", name or "")
        for row, name in (
            codes.join(rates, on="_key", how="anti").select("row", "destination").iter_rows()
        ):
            self._find(Kind.PASSED_OVER, row, "destination", name or "", "has codes but no rate")
        of_codes = [n for n in ("code", "country_code") if n in codes.columns]
        return rates.drop(n for n in of_codes if n in rates.columns).join(
            codes.select("_key", *of_codes), on="_key", how="inner", maintain_order="left_right"
        )

    def _prices(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A row a price where a sheet has several price columns; increments of two columns."""
        missing = [c for c in (*ROW_SCHEMA, "first", "next") if c not in rows.columns]
        rows = rows.with_columns(pl.lit(None, ROW_SCHEMA.get(c, pl.String)).alias(c)
                                 for c in missing)  # fmt: skip
        rows = rows.with_columns(
            pl.col("increments").fill_null(pl.format("{}/{}", "first", "next"))
        )
        if not self.layout.prices:
            return rows
        priced = [
            rows.with_columns(
                pl.col(f"price {n}").alias("rate"),
                pl.lit(price.origin or None, pl.String).alias("origin")
                if price.origin
                else "origin",
                pl.lit(price.band or None, pl.String).alias("band") if price.band else "band",
            )
            for n, price in enumerate(self.layout.prices)
            if f"price {n}" in rows.columns
        ]
        return pl.concat(priced).filter(
            pl.col("rate").is_not_null() | pl.col("status").is_not_null()
        )

    def _tell_country_codes(self, rows: pl.DataFrame) -> None:
        """Codes that no number may have once the country code of its own column precedes them."""
        country, code = pl.col("country_code"), pl.col("code")
        begins_0 = code.str.contains(r"(^|[^0-9])0") & ~country.is_in(_KEEP_THE_ZERO)
        for row, there, value in (
            rows.filter(begins_0).select("row", "country_code", "code").iter_rows()
        ):
            said = f"follows country code {there}: is the 0 dialled within the country alone?"
            self._find(Kind.COUNTRY_CODE, row, "code", value, said)
        apart = rows.filter(country.is_not_null() & code.is_not_null())
        again = apart.filter(code.str.starts_with(country))
        if again.height == apart.height and again.height:
            said = "begins with its country code, as all do: is it written twice?"
            self._find(Kind.COUNTRY_CODE, again["row"][0], "code", again["code"][0], said)

    def _tell(self, message: str, row: int | None, field: str, value: str) -> None:
        if len(self.problems) < 200:
            self.problems.append(Problem(message, self.path, row, field, value))

    def _find(self, kind: Kind, row: int | None, field: str, value: str, message: str) -> None:
        self.findings.append(Finding(kind, self.agreement, self.path, row, field, value, message))


_KEEP_THE_ZERO = ("39", "225", "242", "378")
"""Country codes that numbers follow with the 0 that is dialled within the country."""
_EXPONENT = re.compile(r"\d(\.\d+)?[eE]\+?\d+", re.A)
_EXPONENT_RATE = re.compile(r"\d+(\.\d+)?[eE][+-]?\d+", re.A)
_COMMA_DECIMAL = re.compile(r"(\d+|\d{1,3}(\.\d{3})+),\d+", re.A)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+", re.A)
_WORDS = re.compile(r"[^\W\d].* ")
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})", re.A)
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})", re.A)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORDED = re.compile(
    rf"(\d{{1,2}})[ -]({'|'.join(_MONTHS)})[a-z]*[ -](\d{{4}}|\d{{2}})", re.A | re.I
)
_MADE_DATE = re.compile(
    rf"\d{{1,2}}[/.]\d{{1,2}}[/.](\d{{4}}|\d{{2}})|\d{{4}}-\d{{2}}-\d{{2}}( .*)?"
    rf"|\d{{1,2}}-({'|'.join(_MONTHS)})(-\d+)?|({'|'.join(_MONTHS)})-\d+",
    re.A | re.I,
)
_STEPS = re.compile(r"^(\d+)\s*[-+:/]\s*(\d+)$", re.A)


def _iso(cell: Cell) -> str:
    return cell.isoformat() if isinstance(cell, date | datetime) else str(cell)


def _plain(cell: Cell) -> str | None:
    return None if cell is None else str(cell)
