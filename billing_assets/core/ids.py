"""Identifiers that lead back: record to file and row, partner to bucket, content to hash.

A `record_id` is an int64: 36 bits of the file's SHA-256 (its key), then 27 bits of the row, so
a record names its file and line without a string, and no figure depends on arrival order.
"""

import hashlib
import json
from pathlib import Path

ROW_BITS = 27
MAX_ROW = (1 << ROW_BITS) - 1
FILE_KEY_BITS = 36


def sha256_of(content: bytes) -> str:
    """SHA-256 of some bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, in hex, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no blanks, so equal values have equal bytes and hashes.

    Decimals, dates and times must already be strings: a value that JSON does not know raises
    `TypeError` rather than being guessed at.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def file_key(sha256: str) -> int:
    """The 36-bit key of a file, from its content hash; the registry resolves collisions."""
    return int(sha256[:9], 16)


def record_id(key: int, row: int) -> int:
    """Pack a file key and a row (from 1, as an editor counts) into a record id.

    Raises `ValueError` outside the range of either part.
    """
    if not 0 <= key < 1 << FILE_KEY_BITS:
        raise ValueError(f"file key {key} is not a {FILE_KEY_BITS}-bit number")
    if not 0 < row <= MAX_ROW:
        raise ValueError(f"row {row} is outside 1..{MAX_ROW}")
    return key << ROW_BITS | row


def split_record_id(value: int) -> tuple[int, int]:
    """Return the file key and the row of a record id."""
    return value >> ROW_BITS, value & MAX_ROW


def bucket_of(partner: str, buckets: int) -> int:
    """The bucket of a partner: a hash that never changes between versions or machines."""
    return int.from_bytes(hashlib.sha256(partner.encode()).digest()[:4], "big") % buckets


def stable_id(*parts: str) -> int:
    """A 63-bit identifier of some text parts, equal wherever it is computed."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def event_code(name: str) -> int:
    """A 15-digit code that stands for an event type, so that events are priced by code too."""
    return 10**14 + stable_id("event", name) % (9 * 10**14)
