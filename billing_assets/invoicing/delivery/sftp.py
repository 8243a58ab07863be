"""SFTP: only to a server that proves its host key; files appear under their names when whole."""

import asyncio
import hashlib
import tempfile
from pathlib import Path

import asyncssh

from billing_assets.core.settings import Settings
from billing_assets.invoicing.delivery.parcel import (
    BLOCK,
    TIMEOUT_SECONDS,
    Item,
    Parcel,
    Receipt,
    Refused,
    Unreachable,
    secret,
)
from billing_assets.reference.channels import SftpChannel

_FOLDER_REFUSED = (
    asyncssh.SFTPPermissionDenied,
    asyncssh.SFTPNoSuchFile,
    asyncssh.SFTPNoSuchPath,
)


def send(channel: SftpChannel, parcel: Parcel, settings: Settings) -> Receipt:
    """Put the files, then their manifest, into the server's folder.

    What is there already with the same content stays. Raises `Refused` for a wrong host key, a
    refused login or a name taken by other content; `Unreachable` for what may pass.
    """
    credential = secret(settings, channel.secret)
    try:
        return asyncio.run(_send(channel, parcel, credential))
    except asyncssh.HostKeyNotVerifiable as error:
        raise Refused(
            f"the server does not have the host key of the partner's file: {error.reason}",
            hint="ask the partner whether the server's key has changed, and by a second way",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise Refused(
            f"the server refuses the login of {channel.user}: {error.reason}",
            hint=f"ask the partner, or renew the secret {channel.secret}",
        ) from error
    except (
        asyncssh.SFTPPermissionDenied,
        asyncssh.SFTPNoSuchFile,
        asyncssh.SFTPNoSuchPath,
    ) as error:
        raise Refused(
            f"folder {channel.folder or '.'} of the server: {error.reason}",
            hint="ask the partner to make it writable for us, or mend `folder`",
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise Unreachable(f"{channel.host}:{channel.port}: {error}") from error


async def _send(channel: SftpChannel, parcel: Parcel, credential: str) -> Receipt:
    key = credential.startswith("-----BEGIN")
    place = channel.host if channel.port == 22 else f"[{channel.host}]:{channel.port}"
    try:
        known = asyncssh.import_known_hosts(f"{place} {channel.host_key}\n")
        keys = [asyncssh.import_private_key(credential)] if key else None
    except (ValueError, asyncssh.KeyImportError) as error:
        raise Refused(
            f"the key cannot be read: {error}", hint="mend host_key or the secret"
        ) from error
    async with (
        asyncssh.connect(
            channel.host,
            channel.port,
            username=channel.user,
            known_hosts=known,
            client_keys=keys,
            password=None if key else credential,
            agent_path=None,
            config=None,
            connect_timeout=TIMEOUT_SECONDS,
            login_timeout=TIMEOUT_SECONDS,
            keepalive_interval=TIMEOUT_SECONDS,
        ) as connection,
        connection.start_sftp_client() as client,
    ):
        folder = f"{channel.folder.rstrip('/')}/" if channel.folder else ""
        with tempfile.TemporaryDirectory() as scratch:
            for item in parcel.with_manifest(Path(scratch)):
                await _put(client, item, folder + item.name)
    return {"folder": channel.folder, "manifest": f"{parcel.stem}.sha256"}


async def _put(client: asyncssh.SFTPClient, item: Item, target: str) -> None:
    if await client.exists(target):
        if await _sha256(client, target) != item.sha256:
            raise Refused(f"{target} exists there with other content", hint="ask the partner")
        return
    part = f"{target}.part"
    async with client.open(part, "wb") as stream:
        for block in item.blocks():
            await stream.write(block)
    if await client.getsize(part) != item.size:
        raise Unreachable(f"{part} did not arrive whole")
    try:
        await client.posix_rename(part, target)
    except asyncssh.SFTPOpUnsupported:
        await client.rename(part, target)


async def _sha256(client: asyncssh.SFTPClient, path: str) -> str:
    digest = hashlib.sha256()
    async with client.open(path, "rb") as stream:
        while block := await stream.read(BLOCK):
            digest.update(block if isinstance(block, bytes) else block.encode())
    return digest.hexdigest()
