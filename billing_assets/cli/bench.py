"""`icb bench`: how fast the product is on this machine, against baselines of the same run."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError

bench = typer.Typer(
    help="How fast the product is on this machine, against baselines of the same run.",
    no_args_is_help=True,
)

RECORDS_OF_200_PAGES = 17_000
"""Lines of a document that fill about 200 pages of the default layout."""

_BYTES_A_RECORD = 120
"""Disk that a record of the bench takes: its chunk, its slice of `xdr` and its rated legs."""


@bench.command()
def rating(
    records: Annotated[
        list[int] | None,
        typer.Option(min=1000, help="records of the day, default 10 and 50 million; repeatable"),
    ] = None,
    partners: Annotated[int, typer.Option(min=10, max=900, help="partners with traffic")] = 200,
    threads: Annotated[
        list[int] | None, typer.Option(help="threads; may be repeated, default 1 and 2")
    ] = None,
    full_day: Annotated[
        bool, typer.Option("--full-day", help="rate 625 million records, if the disk allows")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Rate a generated day through the product's own path, and print its speed beside a plain
    copy of the table it writes, a scan of what it reads, a Python loop and a DuckDB join.

    Each figure is of a process of its own; the last two baselines run on a part of the records.
    """
    from billing_assets.demo.bench_rating import (  # noqa: PLC0415 - only the bench needs it
        FULL_DAY,
        Size,
        measure,
        prepare,
    )

    sizes = [FULL_DAY] if full_day else records or [10_000_000, 50_000_000]
    runs: list[dict[str, object]] = []
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
            folder = Path(scratch)
            _require_disk(folder, count * _BYTES_A_RECORD)
            with console.status(f"generating {count:,} records"):
                prepare(Size(count, partners), folder)
            for used in threads or [1, 2]:
                found = {}
                for name in ("rate", "copy", "scan", "loop", "join", "recompile", "million"):
                    with console.status(f"{count:,} records, {used} threads: {name}"):
                        found[name] = measure(name, folder, used)
                runs.append(_figures(count, used, found, FULL_DAY))
    if as_json:
        print_json(runs)
        return
    columns = [f"{run['records']:,} / {run['threads']}" for run in runs]
    rows = [
        {"figure": name, **{c: run[name] for c, run in zip(columns, runs, strict=True)}}
        for name in runs[0]
    ]
    show(rows, "Rating bench (records / threads)", as_json=False)


@bench.command()
def intake(
    records: Annotated[int, typer.Option(min=1000, help="records of the files")] = 10_000_000,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Take generated files of mixed presets in, and print the speed beside reading the same files
    with Polars: cut into text alone, and parsed into numbers and dates as Polars finds them.

    Intake also proves, normalises and checks each record, archives and logs the files, and writes
    the records to the lake. Each figure is of a process of its own, on all processors.
    """
    from billing_assets.demo.bench_intake import (  # noqa: PLC0415 - only the bench needs it
        generate,
        measure,
    )

    with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
        folder = Path(scratch)
        _require_disk(folder, records * _BYTES_A_FILED_RECORD)
        with console.status(f"generating {records:,} records"):
            generate(folder / "inbox", records)
        found = {}
        for name in ("cut", "parsed", "intake"):
            with console.status(f"{records:,} records: {name}"):
                found[name] = measure(name, folder)
    speed = {name: one["rows"] / one["seconds"] for name, one in found.items()}
    figures: dict[str, object] = {
        "records": int(found["intake"]["rows"]),
        "intake records a second": f"{speed['intake']:,.0f}",
        "intake seconds": f"{found['intake']['seconds']:.1f}",
        "processor seconds: intake, cut into text, parsed": ", ".join(
            f"{found[name]['processor']:.1f}" for name in ("intake", "cut", "parsed")
        ),
        "intake peak memory GB": f"{found['intake']['peak'] / 1e9:.2f}",
        "Polars, cut into text, records a second": f"{speed['cut']:,.0f}",
        "Polars, parsed into numbers and dates, records a second": f"{speed['parsed']:,.0f}",
        "speed of Polars cutting into text": f"{speed['intake'] / speed['cut']:.0%}",
        "speed of Polars parsing numbers and dates": f"{speed['intake'] / speed['parsed']:.0%}",
    }
    if as_json:
        print_json(figures)
        return
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    show(rows, "Intake bench", as_json=False)


_BYTES_A_FILED_RECORD = 700
"""The same for intake: the file, its copy in the archive, and its rows in the lake."""


@bench.command()
def rerating(
    records: Annotated[int, typer.Option(min=1000, help="records a day")] = 2_000_000,
    days: Annotated[int, typer.Option(min=1, max=31, help="days of the scope")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Re-rate one destination of one partner over some days, beside rating all of them again."""
    from billing_assets.demo.bench_rerating import bench_rerating  # noqa: PLC0415 - only here

    with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
        _require_disk(Path(scratch), days * records * _BYTES_A_RECORD)
        with console.status("generating") as status:
            found = bench_rerating(Path(scratch), records, days, status.update)
    rows = [
        {"figure": "seconds to rate all days again", "value": f"{found.all_seconds:.1f}"},
        {"figure": "seconds to re-rate the scope", "value": f"{found.seconds:.2f}"},
        {"figure": "of the time", "value": f"{found.seconds / found.all_seconds:.1%}"},
        {"figure": "of the bytes written", "value": f"{found.bytes / found.all_bytes:.1%}"},
        {"figure": "slices replaced", "value": f"{found.slices} of {found.all_slices}"},
        {"figure": "legs with another price", "value": f"{found.legs:,}"},
    ]
    show(rows, f"Re-rating bench: {days} days of {records:,} records", as_json=as_json)


@bench.command()
def charging(
    partners: Annotated[int, typer.Option(min=2, max=2000, help="partners")] = 500,
    destinations: Annotated[int, typer.Option(min=1, help="destinations of each")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Charge a month of generated daily usage, a row for each partner, destination and day."""
    from billing_assets.demo.bench_charging import (  # noqa: PLC0415 - only the bench needs it
        measure,
        prepare,
    )

    with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
        folder = Path(scratch)
        with console.status("generating a month of daily usage"):
            rows = prepare(folder, partners, destinations)
        with console.status(f"charging {rows:,} rows"):
            found = measure(folder, partners)
    figures: dict[str, object] = {
        "rows of usage_daily": rows,
        "lines": int(sum(one["lines"] for one in found)),
        "seconds": f"{max(one['seconds'] for one in found):.1f}",
        "processor seconds": f"{sum(one['processor'] for one in found):.1f}",
        "peak memory GB": f"{sum(one['peak'] for one in found) / 1e9:.2f}",
    }
    if as_json:
        print_json(figures)
        return
    shown = [{"figure": name, "value": value} for name, value in figures.items()]
    show(shown, "Charging bench", as_json=False)


def _require_disk(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise BillingError(
            f"this bench needs {wanted / 1e9:.0f} GB of disk, {folder.anchor} has "
            f"{free / 1e9:.0f} GB left",
            hint="choose fewer --records, or set TMPDIR to a larger disk",
        )


def _figures(
    count: int, threads: int, found: Mapping[str, Mapping[str, float]], full_day: int
) -> dict[str, object]:
    """One run's figures with their units in the names; ratios are of rows a second."""
    speed = {name: one["rows"] / one["seconds"] for name, one in found.items()}
    rate, million = found["rate"], found["million"]
    return {
        "records": count,
        "threads": threads,
        "legs": int(rate["rows"]),
        "million legs a second": f"{speed['rate'] / 1e6:.2f}",
        "rating seconds": f"{rate['seconds']:.1f}",
        "rating peak memory GB": f"{rate['peak'] / 1e9:.2f}",
        "plan compile seconds": f"{rate['compile']:.1f}",
        "plan compile peak memory GB": f"{rate['compile_peak'] / 1e9:.2f}",
        "plan compile seconds after one changed rate": f"{found['recompile']['seconds']:.1f}",
        "seconds to validate and load a million rates": f"{million['load']:.1f}",
        "the same, compiled too": f"{million['seconds']:.1f}",
        "speed of a plain copy of the rated legs": f"{speed['rate'] / speed['copy']:.0%}",
        "speed of a scan of the columns that rating reads": f"{speed['rate'] / speed['scan']:.0%}",
        "times a Python loop with dicts": f"{speed['rate'] / speed['loop']:.1f}",
        "times a DuckDB prefix join": f"{speed['rate'] / speed['join']:.1f}",
        "minutes for 625 million xDRs, one leg": f"{full_day / speed['rate'] / 60:.1f}",
        "minutes for 625 million xDRs, two legs": f"{2 * full_day / speed['rate'] / 60:.1f}",
    }


@bench.command()
def invoicing(
    partners: Annotated[int, typer.Option(min=1, max=999, help="partners, two documents each")] = (
        500
    ),
    records: Annotated[
        int, typer.Option(min=1000, help="records of one itemised file")
    ] = 10_000_000,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Bill a month of many partners from usage to issued documents (PDF, XML, CSV, itemised);
    render a PDF of 200 pages; write one large itemised file. Figures are of this machine.
    """
    from billing_assets.core.settings import Settings  # noqa: PLC0415 - only the bench needs it
    from billing_assets.demo.bench_invoicing import (  # noqa: PLC0415
        Month,
        itemised,
        long_pdf,
        prepare,
        run,
    )
    from billing_assets.installation import Installation  # noqa: PLC0415

    month = Month(partners)
    with tempfile.TemporaryDirectory(prefix="icb-bench-") as scratch:
        folder = Path(scratch)
        home = Installation.open(Settings(home=folder / "home", user="bench"))
        with console.status("generating usage and rated legs"):
            prepare(home, month)
        with console.status(f"billing {partners} partners"):
            billed = run(home, month)
        with console.status("rendering 200 pages"):
            long = long_pdf(home, RECORDS_OF_200_PAGES)
        with console.status(f"writing {records:,} itemised records"):
            written = itemised(home, records, folder)
    if as_json:
        print_json({"month": billed, "long_pdf": long, "itemised": written})
        return
    for title, figures in (("A month", billed), ("Long PDF", long), ("Itemised file", written)):
        show(
            [{"figure": name, "value": value} for name, value in figures.items()],
            title,
            as_json=False,
        )
