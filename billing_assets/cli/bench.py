"""`icb bench`: how fast rating is on this machine, against baselines of the same run."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show


def bench(
    records: Annotated[
        list[int] | None,
        typer.Option(min=1000, help="records of the day; may be repeated, default 10 million"),
    ] = None,
    partners: Annotated[int, typer.Option(min=1, max=900, help="partners with traffic")] = 200,
    threads: Annotated[
        list[int] | None, typer.Option(help="threads; may be repeated, default 1 and 2")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Rate a generated day through the product's own path, and print its speed beside a plain
    copy of the table it writes, a scan of what it reads, a Python loop and a DuckDB join.

    Each figure is of a process of its own; the last two baselines run on a part of the records.
    """
    from billing_assets.demo.bench import (  # noqa: PLC0415 - only the bench needs it
        FULL_DAY,
        Size,
        change_one_rate,
        measure,
        prepare,
    )

    rows: list[dict[str, object]] = []
    for count in records or [10_000_000]:
        with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
            folder = Path(scratch)
            with console.status(f"generating {count:,} records"):
                reference = prepare(Size(count, partners), folder)
            with console.status("compiling the plan after one changed rate"):
                recompiled = change_one_rate(reference)
            del reference
            for used in threads or [1, 2]:
                with console.status(f"{count:,} records, {used} threads"):
                    found = {
                        name: measure(name, folder, used)
                        for name in ("rate", "copy", "scan", "loop", "join")
                    }
                rows.append(_row(count, used, found, recompiled, FULL_DAY))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        show(
            [{"figure": name, "value": value} for name, value in row.items()],
            "Rating bench",
            as_json=False,
        )


def _row(
    count: int,
    threads: int,
    found: dict[str, dict[str, float]],
    recompiled: float,
    full_day: int,
) -> dict[str, object]:
    """One bench as figures with their units in the names; ratios are of rows a second."""
    speed = {name: one["rows"] / one["seconds"] for name, one in found.items()}
    return {
        "records": count,
        "legs": int(found["rate"]["rows"]),
        "threads": threads,
        "million legs a second": f"{speed['rate'] / 1e6:.2f}",
        "rating seconds": f"{found['rate']['seconds']:.1f}",
        "plan compile seconds": f"{found['rate']['compile']:.1f}",
        "plan compile seconds after one changed rate": f"{recompiled:.1f}",
        "peak memory GB": f"{found['rate']['peak'] / 1e9:.2f}",
        "of a plain copy of the rated legs": f"{speed['rate'] / speed['copy']:.0%}",
        "of a scan of the columns that rating reads": f"{speed['rate'] / speed['scan']:.0%}",
        "times a Python loop with dicts": f"{speed['rate'] / speed['loop']:.1f}",
        "times a DuckDB prefix join": f"{speed['rate'] / speed['join']:.1f}",
        "minutes for 625 million xDRs, two legs": f"{2 * full_day / speed['rate'] / 60:.1f}",
    }
