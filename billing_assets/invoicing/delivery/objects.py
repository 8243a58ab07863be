"""Buckets of any store that speaks S3: objects are created, never replaced."""

import hashlib
import tempfile
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from billing_assets.core.settings import Settings
from billing_assets.invoicing.delivery.parcel import (
    TIMEOUT_SECONDS,
    Item,
    Parcel,
    Receipt,
    Refused,
    Unreachable,
    secret,
)
from billing_assets.reference.channels import ObjectChannel

MULTIPART_FROM = 64_000_000
"""Larger objects are uploaded in parts, so that none is held in memory."""


def send(channel: ObjectChannel, parcel: Parcel, settings: Settings) -> Receipt:
    """Create the objects, then their manifest.

    What is there already with the same content stays. Raises `Refused` for a missing bucket, a
    refused key or a name taken by other content; `Unreachable` for what may pass.
    """
    access, _, key = secret(settings, channel.secret).partition(":")
    store = S3Store(
        channel.bucket,
        prefix=channel.prefix or None,
        region=channel.region,
        access_key_id=access,
        secret_access_key=key,
        client_options={
            "timeout": timedelta(seconds=10 * TIMEOUT_SECONDS),
            "connect_timeout": timedelta(seconds=TIMEOUT_SECONDS),
            "allow_http": channel.endpoint.startswith("http://"),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        endpoint=channel.endpoint or f"https://s3.{channel.region}.amazonaws.com",
    )
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for item in parcel.with_manifest(Path(scratch)):
                _put(store, item)
    except (NotFoundError, FileNotFoundError) as error:
        raise Refused(f"there is no bucket {channel.bucket}", hint="mend `bucket`") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Refused(
            f"the store refuses the secret {channel.secret}", hint="renew it, or its rights"
        ) from error
    except (BaseError, OSError) as error:
        raise Unreachable(f"{channel.address}: {str(error).splitlines()[0]}") from error
    return {"bucket": channel.bucket, "manifest": f"{channel.prefix}/{parcel.stem}.sha256"}


def _put(store: S3Store, item: Item) -> None:
    try:
        if item.size > MULTIPART_FROM:
            if _stored(store, item) is None:
                obstore.put(store, item.name, item.path, use_multipart=True)
                return
        else:
            obstore.put(store, item.name, item.path.read_bytes(), mode="create")
            return
    except AlreadyExistsError:
        pass
    if _stored(store, item) != item.sha256:
        raise Refused(f"{item.name} exists there with other content", hint="ask the partner")


def _stored(store: S3Store, item: Item) -> str | None:
    """SHA-256 of the object of a name; None when there is none."""
    digest = hashlib.sha256()
    try:
        for block in obstore.get(store, item.name).stream():
            digest.update(block)
    except (NotFoundError, FileNotFoundError):
        return None
    return digest.hexdigest()
