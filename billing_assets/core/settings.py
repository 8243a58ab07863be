"""The one place that reads the environment: where this installation keeps its things."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from billing_assets.core.errors import BillingError, InputError, Problem

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The checkout: it holds `dbt_project/`, `templates/` and `data/`."""


class Settings(BaseSettings):
    """Settings of an installation, from `ICB_...` variables; every one has a default.

    Raises `BillingError` that names the variable which cannot be read.
    """

    model_config = SettingsConfigDict(env_prefix="ICB_", frozen=True)

    home: Annotated[Path, Field(description="folder of everything generated or billed")] = Path(
        "home"
    )
    reference_dir: Annotated[
        Path | None, Field(description="reference data folder; default HOME/reference")
    ] = None
    lake_uri: Annotated[
        str, Field(description="root of the lake: a folder or s3://...; default HOME/lake")
    ] = ""
    lake_storage_options: Annotated[
        dict[str, str], Field(description="JSON of object-store options for lake_uri")
    ] = {}
    registry_url: Annotated[
        str, Field(description="SQLAlchemy URL; default SQLite in HOME/registry.db")
    ] = ""
    buckets: Annotated[int, Field(ge=1, le=1024, description="partner buckets a day")] = 4
    templates_dir: Annotated[
        Path | None, Field(description="layouts; default the project's templates/")
    ] = None
    secrets_dir: Annotated[
        Path | None, Field(description="one file a secret; default HOME/secrets")
    ] = None
    portal_dir: Annotated[
        Path | None, Field(description="folder that partners read; default HOME/portal")
    ] = None
    smtp_host: Annotated[str, Field(description="mail server; empty: no mail")] = ""
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    smtp_tls: Annotated[
        Literal["starttls", "implicit"], Field(description="how mail is encrypted")
    ] = "starttls"
    smtp_user: Annotated[str, Field(description="empty: no login")] = ""
    smtp_secret: Annotated[str, Field(description="name of the secret with its password")] = "smtp"
    ca_file: Annotated[
        Path | None, Field(description="PEM of authorities to trust besides the system's")
    ] = None
    user: Annotated[str, Field(description="who acts, for the audit log")] = "operator"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = [
                Problem(
                    one["msg"],
                    field=f"ICB_{one['loc'][0]}".upper(),
                    # a part of one may be a secret
                    value=str(one["input"]) if len(one["loc"]) == 1 else "...",
                )
                for one in error.errors()
            ]
            raise InputError("the settings cannot be read", problems) from error
        except SettingsError as error:
            raise BillingError(
                f"the settings cannot be read: {error}",
                hint="ICB_LAKE_STORAGE_OPTIONS is a JSON object",
            ) from error

    @cached_property
    def root(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def reference(self) -> Path:
        """Folder of partners, agreements, sheets, calendars and fixings."""
        return self.reference_dir.resolve() if self.reference_dir else self.root / "reference"

    @property
    def lake(self) -> str:
        """Root URI of the lake's tables."""
        return self.lake_uri or str(self.root / "lake")

    @property
    def registry(self) -> str:
        """SQLAlchemy URL of the registry."""
        return self.registry_url or f"sqlite:///{self.root / 'registry.db'}"

    @property
    def templates(self) -> Path:
        """Folder of document layouts."""
        return self.templates_dir.resolve() if self.templates_dir else PROJECT_ROOT / "templates"

    @property
    def secrets(self) -> Path:
        """Folder of secrets: keys and passwords, one file each."""
        return self.secrets_dir.resolve() if self.secrets_dir else self.root / "secrets"

    @property
    def portal(self) -> Path:
        """Folder of the documents that partners fetch themselves."""
        return self.portal_dir.resolve() if self.portal_dir else self.root / "portal"

    @property
    def inbox(self) -> Path:
        """Where mediation files arrive, one folder a source."""
        return self.root / "inbox"

    @property
    def counters(self) -> Path:
        """Files of switch counters that arrive."""
        return self.root / "counters"

    @property
    def quarantine(self) -> Path:
        """Where refused files are kept."""
        return self.root / "quarantine"

    @property
    def archive(self) -> Path:
        """Raw files by content hash."""
        return self.root / "archive"

    @property
    def documents(self) -> Path:
        """Issued documents by content hash, and readable links to drafts."""
        return self.root / "documents"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage."""
        return self.root / "dagster"
