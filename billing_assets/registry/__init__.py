"""What must be transactional: files, cycles, approvals, document numbers, documents, audit log.

One SQL database (SQLite in WAL mode, or PostgreSQL by URL), changed only through the methods
of `Registry`, each of which is one transaction and leaves its line in the audit log. Content
(raw files, documents) lies beside it by hash, in a `BlobStore`. No usage record, no price and
no clock belongs here: callers pass `now` (UTC) and `who`.

Rules: catalogue 4.2 (run semantics), 4.3 (segregation), 4.4 (audit).
"""

from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry

__all__ = ["BlobStore", "Registry"]
