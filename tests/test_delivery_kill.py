"""A process that issues and delivers is killed at random moments; the next one completes it."""

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing_assets.core.ids import sha256_of
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.registry.schema import CycleState, DeliveryState
from tests.support.issued_home import draft_cycle, load, reference_files
from tests.support.servers import Hook, Mailbox, authority, hook_server, mail_server

PARTNERS = ("P11", "P12", "P13", "P14")


@dataclass(frozen=True)
class World:
    """A home with approved cycles to start from, and the servers of their partners."""

    start: Path
    ca_file: Path
    mailbox: Mailbox
    hook: Hook

    def process(self, home: Path) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.issue_worker"),
                *(str(home), str(self.mailbox.port), str(self.ca_file)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == b"ready\n"
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
        return worker

    def arrived(self) -> Counter[str]:
        """How often each mail and each webhook message came."""
        mails = Counter(str(message["Message-ID"]) for message in self.mailbox.messages)
        posts = Counter(
            next(v for k, v in headers.items() if k.lower() == "webhook-id")
            for headers, _ in self.hook.posts
        )
        return mails + posts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    trust = authority(folder)
    with mail_server(trust.context) as mailbox, hook_server(trust.context) as hook:
        home = Installation.open(Settings(home=folder / "start", user="ana"))
        channels = [
            {"channel": "mail", "via": "mail", "to": ["bills@partner.example"]},
            {"channel": "hook", "via": "webhook", "url": hook.url, "secret": "hook"},
        ]
        partners = [
            {
                "partner": name,
                "delivery": [{"channel": "portal", "via": "folder", "path": name}, *channels],
            }
            for name in PARTNERS
        ]
        load(home, reference_files(partners))
        for name in PARTNERS:
            draft_cycle(home, name)
        home.settings.secrets.mkdir()
        (home.settings.secrets / "hook").write_text("a secret")
        home.registry.close()
        yield World(folder / "start", trust.file, mailbox, hook)


def kill_at(world: World, home: Path, seconds: float) -> str:
    """Start from the approved cycles, kill after a while, let the next run complete; say where."""
    shutil.copytree(world.start, home)
    world.mailbox.messages.clear()
    world.hook.posts.clear()
    worker = world.process(home)
    time.sleep(seconds)
    worker.kill()
    worker.wait(10)
    with Installation.open(Settings(home=home, user="ana")).registry as registry:
        delivered_before = {
            one.id for one in registry.deliveries.list() if one.state is DeliveryState.DELIVERED
        }
        handed_over = [
            one for one in registry.deliveries.list() if one.state is DeliveryState.HANDED_OVER
        ]
        issued = sum(len(registry.documents.of_cycle(f"{name}/2026-03")) for name in PARTNERS)
        assert registry.documents.check_gaps() == []
    before = world.arrived()

    assert world.process(home).wait(60) == 0
    opened = Installation.open(Settings(home=home, user="ana"))
    for one in handed_over:  # it is not sent again before a person has asked the partner
        [unknown] = [d for d in opened.registry.deliveries.list() if d.id == one.id]
        assert unknown.state is DeliveryState.UNKNOWN
        document = opened.registry.documents.get(one.document)
        key = sha256_of(f"{document.canonical_sha256}/{one.id}".encode())[:40]
        opened.registry.deliveries.resolve(
            one.document,
            one.channel,
            arrived=f"<{key}@farolink.example>" in before,
            reason="the partner looked for it",
            now=datetime.now(UTC),
            who="bruno",
        )
    if handed_over:
        assert world.process(home).wait(60) == 0
    _assert_complete(opened, world, home)
    after = world.arrived()
    mails = {key: count for key, count in after.items() if "@" in key}
    assert set(mails.values()) == {1}
    # what was recorded as delivered before the kill was not sent again
    again = {key for key, count in after.items() if before[key] and count > before[key]}
    keys = {
        sha256_of(
            f"{opened.registry.documents.get(name.rpartition('/')[0]).canonical_sha256}/{name}".encode()
        )[:40]
        for name in delivered_before
    }
    assert not again & keys
    opened.registry.close()
    return f"{issued} issued, {len(delivered_before)} delivered, {len(handed_over)} handed over"


def _assert_complete(home: Installation, world: World, root: Path) -> None:
    registry = home.registry
    documents = [d for name in PARTNERS for d in registry.documents.of_cycle(f"{name}/2026-03")]
    assert sorted(d.number for d in documents) == [1, 2, 3, 4]
    assert registry.documents.check_gaps() == []
    assert registry.audit.verify() is None
    for document in documents:
        for file in document.files.values():
            assert sha256_of(home.blobs.get(file.sha256)) == file.sha256
            if file.name.endswith(".pdf"):
                assert (root / "portal" / document.partner / file.name).is_file()
                assert len(list((root / "documents").rglob(file.name))) == 1
    # no file that bears a number stands without its record
    numbers = {d.files["pdf"].name for d in documents}
    assert {path.name for path in (root / "documents").rglob("FT*.pdf")} == numbers
    deliveries = registry.deliveries.list()
    assert len(deliveries) == 3 * len(PARTNERS)
    assert {one.state for one in deliveries} == {DeliveryState.DELIVERED}
    assert {cycle.state for cycle in registry.cycles.list()} == {CycleState.DELIVERED}
    assert len(world.arrived()) == 2 * len(PARTNERS)


def test_a_killed_run_is_completed_by_the_next_one(world: World, tmp_path: Path) -> None:
    for number, seconds in enumerate((0.05, 0.7)):
        kill_at(world, tmp_path / str(number), seconds)


@pytest.mark.slow
def test_killing_at_fifty_random_points_loses_and_doubles_nothing(
    world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.start, tmp_path / "whole")
    worker = world.process(tmp_path / "whole")
    started = time.monotonic()
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"done\n"
    whole = time.monotonic() - started
    chance = random.Random(20260331)
    places = Counter(
        kill_at(world, tmp_path / str(number), chance.uniform(0, whole)) for number in range(50)
    )
    assert len(places) > 5, places
