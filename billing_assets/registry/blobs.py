"""Content by its SHA-256: raw files, reference files, rating plans, issued documents.

A blob is written once and never changed: whole or not there, on the disk before its name is
known, and proved against its hash whenever it is read. What a blob means stands in the
registry's tables.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.ids import sha256_of, sha256_of_file


class BlobStore:
    """A folder of blobs, as `ab/cd/abcd...` by their hash; any number of processes may write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, content: bytes) -> str:
        """Keep some bytes and return their SHA-256; keeping them again changes nothing.

        Raises `BillingError` when the bytes kept under that hash are damaged.
        """
        sha256 = sha256_of(content)
        # bytes in memory cannot change while they are written, as a file can
        self._keep(sha256, lambda stream: stream.write(content), prove=False)
        return sha256

    def put_file(self, source: Path) -> str:
        """Keep a file's content, copied in blocks, and return its SHA-256.

        Raises `BillingError` when the file changes meanwhile, or what is kept is damaged.
        """
        sha256 = sha256_of_file(source)
        with source.open("rb") as content:
            self._keep(sha256, lambda stream: copyfileobj(content, stream, 1 << 20), prove=True)
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return the bytes of a hash.

        Raises `NotFound` when they are not here, `BillingError` when they are damaged.
        """
        path = self.path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"no content with hash {sha256} is kept in {self.root}") from error
        if sha256_of(content) != sha256:
            raise _damaged(path)
        return content

    def prove(self, sha256: str) -> int:
        """Read a blob in blocks and return its size.

        Raises `NotFound` when it is not here, `BillingError` when it is damaged.
        """
        path = self.path(sha256)
        try:
            found = sha256_of_file(path)
        except FileNotFoundError as error:
            raise NotFound(f"no content with hash {sha256} is kept in {self.root}") from error
        if found != sha256:
            raise _damaged(path)
        return path.stat().st_size

    def exists(self, sha256: str) -> bool:
        """Whether the bytes of a hash are kept here."""
        return self.path(sha256).is_file()

    def remove(self, sha256: str) -> None:
        """Delete the bytes of a hash, where the law wants them gone; none are here after it."""
        path = self.path(sha256)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync(path.parent)

    def path(self, sha256: str) -> Path:
        """Return where a blob lies, for readers that take a path; `get` proves its content."""
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def _keep(self, sha256: str, write: Callable[[BinaryIO], object], *, prove: bool) -> None:
        path = self.path(sha256)
        if path.is_file():
            if sha256_of_file(path) != sha256:
                raise _damaged(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if prove and sha256_of_file(part) != sha256:
                raise BillingError(
                    f"the content of {sha256} changed while it was kept", hint="try again"
                )
            part.chmod(0o444)
            # two writers of one hash bring the same bytes, so it does not matter who is last
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent, self.root):
            _sync(folder)


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(path: Path) -> BillingError:
    return BillingError(
        f"{path} no longer has the content of its hash", hint="restore it from a backup"
    )
