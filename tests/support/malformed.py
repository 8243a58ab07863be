"""Rows that are wrong in every way we know, and rows that are wrong in ways that nobody planned.

Each known fault says which reason and field must be told; of the unplanned ones only this is
known: each row has one fate, and no other row pays for it.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.intake import ASTERISK_ROW, FREESWITCH_ROW, line, sansay_row

Cells = dict[str, str]


@dataclass(frozen=True)
class Fault:
    """A way to spoil a canonical record: the cells that change, and what must be told of it.

    `reason` None: the row is odd, but right.
    """

    name: str
    reason: str | None
    field: str
    spoil: Callable[[random.Random], Cells]


def _one(field: str, *values: str) -> Callable[[random.Random], Cells]:
    return lambda chance: {field: chance.choice(values)}


def _letters(chance: random.Random) -> str:
    return (
        "".join(chance.choice("abcxyzÄß日-_ ") for _ in range(chance.randint(1, 12))).strip() or "x"
    )


def _foreign_digits(text: str) -> str:
    return "".join(chr(0x660 + int(sign)) if sign.isdigit() else sign for sign in text)


_BAD_TIMES = (
    "2026-02-30T12:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-03-10T25:00:00.000Z",
    "2026-03-10T12:60:00.000Z",
    "2026-03-10",
    "10/03/2026 12:00",
    "yesterday",
    "0000-00-00 00:00:00",
    "1773144000",
    "2026-03-10T12:00:00+99:00",
    "1926-03-10T12:00:00Z",
    "2126-03-10T12:00:00Z",
    _foreign_digits("2026-03-10T12:00:00Z"),
)

FAULTS = (
    Fault("no service", "MISSING_FIELD", "service", _one("service", "", "  ")),
    Fault("other service", "UNKNOWN_SERVICE", "service", lambda c: {"service": _letters(c)}),
    *(
        Fault(f"bad {name}", "BAD_TIME", f"{name}_time", _one(f"{name}_time", *_BAD_TIMES))
        for name in ("setup", "answer", "end")
    ),
    Fault(
        "no times",
        "MISSING_FIELD",
        "setup_time",
        lambda _: {"setup_time": "", "answer_time": "", "end_time": "", "duration_ms": "0"},
    ),
    Fault("no trunks", "MISSING_FIELD", "in_trunk", lambda _: {"in_trunk": "", "out_trunk": " "}),
    Fault("no b", "MISSING_FIELD", "b_number", _one("b_number", "", "   ")),
    Fault(
        "letters in b",
        "BAD_NUMBER",
        "b_number",
        lambda c: {"b_number": f"4420{c.choice('OlIxé')}{c.randint(0, 9999)}"},
    ),
    Fault("long b", "BAD_NUMBER", "b_number", lambda c: {"b_number": "4" * c.randint(16, 60)}),
    Fault(
        "mangled b", "BAD_NUMBER", "b_number", _one("b_number", "4.42071E+11", "+", "#", "0", "-44")
    ),
    Fault(
        "other digits",
        "BAD_NUMBER",
        "b_number",
        lambda c: {"b_number": _foreign_digits(str(c.randint(10**9, 10**11)))},
    ),
    Fault(
        "minus",
        "NEGATIVE_DURATION",
        "duration_ms",
        lambda c: {"duration_ms": str(-c.randint(1, 10**9))},
    ),
    Fault(
        "no number",
        "BAD_NUMBER",
        "duration_ms",
        lambda c: {"duration_ms": c.choice(("1e5", "NaN", "0x10", "1,5", "--1", "∞", _letters(c)))},
    ),
    Fault(
        "absurd length",
        "OUT_OF_RANGE",
        "duration_ms",
        lambda c: {"duration_ms": str(c.randint(3 * 10**9, 10**17))},
    ),
    Fault(
        "ends before",
        "NEGATIVE_DURATION",
        "end_time",
        _one("end_time", "2026-03-10T11:59:59.000Z", "2026-03-09T12:00:00Z"),
    ),
    Fault(
        "talk without answer",
        "MISSING_FIELD",
        "answer_time",
        lambda _: {"answer_time": "", "end_time": ""},
    ),
    Fault("sequence", "BAD_NUMBER", "record_sequence", lambda c: {"record_sequence": _letters(c)}),
    Fault(
        "negative sequence", "OUT_OF_RANGE", "record_sequence", _one("record_sequence", "-1", "-99")
    ),
    Fault(
        "network", "OUT_OF_RANGE", "serving_network", _one("serving_network", "0", "-5", "9999999")
    ),
    Fault("part", "OUT_OF_RANGE", "part", _one("part", "0", "-1", "32001", "99999")),
    Fault("last part", "BAD_VALUE", "last_part", _one("last_part", "maybe", "2", "ja")),
    Fault("part of no call", "MISSING_FIELD", "call_id", lambda _: {"part": "1", "call_id": ""}),
    Fault("anonymous a", None, "", _one("a_number", "anonymous", "", "Farolink", "12", "+")),
    Fault(
        "b as dialled", None, "", _one("b_number", "+442071234567", "00442071234567", " 4420 71 ")
    ),
    Fault("offset", None, "", _one("answer_time", "2026-03-10T13:00:05.250+01:00")),
    Fault("blanks", None, "", _one("out_trunk", "  TG09", "TG09 \t", "")),
)
"""Faults of canonical records."""

RAGGED = "WRONG_COLUMN_COUNT"

ROWS = {
    "freeswitch": FREESWITCH_ROW,
    "asterisk": f'{ASTERISK_ROW},"1773144000.1",""',
    "sansay": sansay_row(),
}
"""A good row of presets that are spoilt in ways that nobody planned."""


def quoted(cell: str) -> str:
    """A cell as a CSV writer would write it."""
    odd = any(sign in cell for sign in ',"\n') or cell != cell.strip()
    return '"' + cell.replace('"', '""') + '"' if odd else cell


def canonical_rows(count: int, seed: int) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Lines of canonical CSV, and what must be told of each (None: it lands)."""
    chance = random.Random(seed)
    for number in range(count):
        if chance.random() < 0.1:
            row = line(call_id=f"r{number}")
            cut = (
                row.split(",")[: chance.randint(1, 17)] if chance.random() < 0.5 else [row, "", "x"]
            )
            yield ",".join(cut), (RAGGED, "line")
            continue
        fault = chance.choice(FAULTS)
        cells = {name: quoted(cell) for name, cell in fault.spoil(chance).items()}
        told = None if fault.reason is None else (fault.reason, fault.field)
        yield line(**{"call_id": f"c{number}", **cells}), told


def spoilt_rows(preset: str, count: int, seed: int) -> Iterator[str]:
    """Rows of a preset in which something was put in, taken out, doubled or replaced."""
    chance = random.Random(f"{preset}{seed}")
    good = ROWS[preset]
    for _ in range(count):
        at, length = chance.randrange(len(good)), chance.randint(0, 6)
        put = "".join(
            chance.choice("\"',;|\\\t 0129azé٣∞\x01\x1f") for _ in range(chance.randint(0, 6))
        )
        match chance.randrange(4):
            case 0:
                yield good[:at] + put + good[at + length :]
            case 1:
                yield good[:at]
            case 2:
                yield good[:at] + good[at:] * 2
            case _:
                yield put * chance.randint(1, 50)
