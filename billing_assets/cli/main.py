"""The `icb` command (interconnect billing)."""

import sys
import warnings

import polars as pl
import typer
from deltalake.exceptions import DeltaError
from sqlalchemy.exc import DBAPIError

from billing_assets.cli import (
    archive,
    audit,
    cycles,
    delivery,
    demo,
    document,
    fx,
    intake,
    invoice,
    reference_changes,
    rerate,
    suspense,
)
from billing_assets.cli.accruals import accruals
from billing_assets.cli.bench import bench
from billing_assets.cli.controls import completeness, controls
from billing_assets.cli.deals import deals
from billing_assets.cli.output import console, fail
from billing_assets.cli.price import price
from billing_assets.cli.receivables import receivables
from billing_assets.cli.runs import run
from billing_assets.cli.status import status
from billing_assets.cli.traffic import traffic
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation

app = typer.Typer(
    help="Interconnect and wholesale billing: from mediated CDRs to invoices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Everything lies in the home, ICB_HOME (default ./home). `icb demo` is the start.",
)
app.add_typer(demo.app, name="demo")
app.command()(run)
app.command()(status)
app.command()(controls)
app.command()(completeness)
app.command()(deals)
app.command()(accruals)
app.command()(traffic)
app.add_typer(cycles.app, name="cycle")
app.add_typer(invoice.app, name="invoice")
app.command()(delivery.deliver)
app.add_typer(delivery.app, name="delivery")
app.add_typer(archive.app, name="archive")
app.add_typer(document.app, name="document")
app.add_typer(fx.app, name="fx")
app.command()(receivables)
app.add_typer(reference_changes.app, name="reference")
app.add_typer(intake.app, name="intake")
app.add_typer(rerate.app, name="rerate")
app.command()(rerate.history)
app.add_typer(suspense.app, name="suspense")
app.command()(audit.explain)
app.command()(audit.verify)
app.command()(audit.sql)
app.command()(price)
app.add_typer(bench, name="bench")


@app.command()
def home() -> None:
    """Make the home ready (stores, Dagster's storage) and say where it is."""
    from billing_assets.orchestration.runs import prepare_dagster_home  # noqa: PLC0415

    settings = Settings()
    Installation.open(settings)
    prepare_dagster_home(settings)
    console.print(str(settings.root), highlight=False)


def main() -> None:
    """Run the command line; what a user can cause is told in a sentence, never a traceback."""
    if not sys.warnoptions:  # those of libraries are for us, not for who bills
        warnings.simplefilter("ignore")
    try:
        app()
    except BillingError as error:
        fail(error)
        sys.exit(2)
    except OSError as error:
        fail(_of_file(error))
        sys.exit(2)
    except (DBAPIError, DeltaError, pl.exceptions.ComputeError) as error:
        fail(_of_store(error))
        sys.exit(2)


def _of_file(error: OSError) -> BillingError:
    """A file or folder that cannot be read or written."""
    place = f"{error.filename}: " if error.filename else ""
    return BillingError(
        f"{place}{error.strerror or error}",
        hint="everything lies in the home: look at ICB_HOME, its permissions and free space",
    )


def _of_store(error: Exception) -> BillingError:
    """A database or table that cannot be read or written."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return BillingError(
        f"a store of the home cannot be read or written: {said.strip()}",
        hint="look at the home's permissions and free space; if a file is damaged, restore it",
    )
