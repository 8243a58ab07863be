"""A folder below the portal: files are written once, whole or not at all."""

import os
import tempfile
from pathlib import Path

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import sha256_of_file
from billing_assets.core.settings import Settings
from billing_assets.invoicing.delivery.parcel import Item, Parcel, Receipt, Refused, Unreachable
from billing_assets.reference.channels import FolderChannel


def send(channel: FolderChannel, parcel: Parcel, settings: Settings) -> Receipt:
    """Put the files, then their manifest, into the partner's folder.

    What is there already with the same content stays. Raises `Refused` when a name is taken by
    other content, `Unreachable` when the disk does not let us write.
    """
    folder = settings.portal / channel.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            for item in parcel.with_manifest(Path(scratch)):
                _put(item, folder / item.name)
    except BillingError:
        raise
    except OSError as error:
        raise Unreachable(f"{folder} cannot be written: {error.strerror}") from error
    return {"folder": str(folder), "manifest": f"{parcel.stem}.sha256"}


def _put(item: Item, target: Path) -> None:
    if target.exists():
        if sha256_of_file(target) != item.sha256:
            raise Refused(f"{target} exists with other content", hint="move that file away")
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            for block in item.blocks():
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
