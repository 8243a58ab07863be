"""The registry as the other rooms see it: one object, one subject behind each attribute."""

from types import TracebackType

from sqlalchemy.exc import DBAPIError

from billing_assets.core.errors import BillingError
from billing_assets.registry.audit import AuditLog
from billing_assets.registry.cycles import Cycles
from billing_assets.registry.database import Database
from billing_assets.registry.deliveries import Deliveries
from billing_assets.registry.documents import Documents
from billing_assets.registry.files import FileLog
from billing_assets.registry.rerates import Rerates
from billing_assets.registry.versions import Versions


class Registry:
    """An open registry; safe to use from several threads, and by many processes at once.

    >>> registry = Registry.open("sqlite:////tmp/home/registry.db")  # doctest: +SKIP
    >>> registry.cycles.get("P14/2026-03").state  # doctest: +SKIP
    <CycleState.DRAFT: 'draft'>
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.audit = AuditLog(database)
        self.files = FileLog(database)
        self.versions = Versions(database)
        self.cycles = Cycles(database)
        self.documents = Documents(database)
        self.deliveries = Deliveries(database)
        self.rerates = Rerates(database)

    @classmethod
    def open(cls, url: str) -> "Registry":
        """Open the registry at an SQLAlchemy URL, making or upgrading its tables as needed.

        `sqlite:///PATH` makes the file and its folder; a PostgreSQL database must exist.
        Raises `BillingError` when it cannot be reached, or was made by a newer version.
        """
        database = Database(url)
        try:
            database.migrate()
        except DBAPIError as error:
            raise BillingError(
                f"the registry cannot be opened: {error.orig}", hint="check its URL"
            ) from error
        return cls(database)

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
