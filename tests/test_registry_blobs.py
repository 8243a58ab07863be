"""Content by hash: whole or absent, proved when read, safe for many writers."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.ids import sha256_of
from billing_assets.registry import BlobStore


def test_content_is_kept_under_its_hash_in_two_levels_of_folders(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "documents")
    sha256 = store.put(b"an invoice")
    assert sha256 == sha256_of(b"an invoice")
    assert store.path(sha256) == tmp_path / "documents" / sha256[:2] / sha256[2:4] / sha256
    assert store.exists(sha256)
    assert store.get(sha256) == b"an invoice"
    assert not store.exists("0" * 64)
    with pytest.raises(NotFound, match="no content with hash 000"):
        store.get("0" * 64)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("blobs")
    (root / "source").write_bytes(content)
    store = BlobStore(root / "store")
    assert store.get(store.put_file(root / "source")) == content
    assert store.put(content) == sha256_of(content)


def test_keeping_content_again_leaves_the_file_untouched(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    path = store.path(store.put(b"once"))
    before = path.stat()
    store.put(b"once")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert before.st_mode & 0o777 == 0o444
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_damaged_content_is_never_given_out_nor_taken_for_kept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha256 = store.put(b"an invoice over 100.00")
    store.path(sha256).chmod(0o644)
    store.path(sha256).write_bytes(b"an invoice over 900.00")
    with pytest.raises(BillingError, match="no longer has the content"):
        store.get(sha256)
    with pytest.raises(BillingError, match="no longer has the content"):
        store.put(b"an invoice over 100.00")


def test_a_file_that_changes_while_it_is_kept_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "growing.csv"
    source.write_bytes(b"1;2;3\n")
    monkeypatch.setattr(
        "billing_assets.registry.blobs.copyfileobj",
        lambda content, stream, _size: stream.write(content.read() + b"4;5;6\n"),
    )
    store = BlobStore(tmp_path / "store")
    with pytest.raises(BillingError, match="changed while it was kept"):
        store.put_file(source)
    assert [one for one in (tmp_path / "store").rglob("*") if one.is_file()] == []


def test_processes_killed_while_writing_leave_whole_blobs_only(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from billing_assets.registry import BlobStore\n"
        "store = BlobStore(Path(sys.argv[1]))\n"
        "for n in range(10**6): print(store.put(b'%d' % n * 100_000), flush=True)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for lines, writer in enumerate(writers, start=3):
        assert writer.stdout is not None
        for _ in range(lines):  # kill it in the middle of what follows its third line
            writer.stdout.readline()
        writer.kill()
        writer.communicate(timeout=30)
    store = BlobStore(tmp_path)
    kept = [one for one in tmp_path.rglob("*") if one.is_file() and one.suffix != ".part"]
    assert len(kept) >= 3
    assert all(sha256_of(store.get(one.name)) == one.name for one in kept)
