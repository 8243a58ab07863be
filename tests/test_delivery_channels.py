"""Delivery by every kind of channel, to real servers on loopback."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.installation import Installation
from billing_assets.invoicing.delivery.run import deliver
from billing_assets.reference.channels import Channels
from billing_assets.registry.deliveries import Delivery
from billing_assets.registry.schema import CycleState, DeliveryState
from tests.support.issued_home import issued_home
from tests.support.servers import (
    Authority,
    Hook,
    Mailbox,
    SftpPlace,
    authority,
    hook_server,
    mail_server,
    sftp_server,
)

STEM = "FT-2026-000001"
FILES = {f"{STEM}.pdf", f"{STEM}.xml", f"{STEM}.csv"}
PORTAL = {"channel": "portal", "via": "folder", "path": "P14", "url": "https://portal.example/P14"}


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def mailbox(trust: Authority) -> Iterator[Mailbox]:
    with mail_server(trust.context) as box:
        yield box


@pytest.fixture
def hook(trust: Authority) -> Iterator[Hook]:
    with hook_server(trust.context) as one:
        yield one


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpPlace]:
    with sftp_server(tmp_path / "sftp") as place:
        yield place


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def home_with(root: Path, trust: Authority, *channels: dict[str, Any], **more: Any) -> Installation:
    return issued_home(
        root,
        {"delivery": list(channels)},
        ca_file=trust.file,
        smtp_host="localhost",
        **more,
    )


def keep_secret(home: Installation, name: str, content: str) -> None:
    home.settings.secrets.mkdir(exist_ok=True)
    (home.settings.secrets / name).write_text(content)


def run(home: Installation, what: str = "") -> dict[str, Delivery]:
    found = deliver(home, what=what, clock=lambda: datetime.now(UTC), who="ana", first_pause=0.001)
    return {one.channel: one for one in found}


def state(home: Installation) -> CycleState:
    return home.registry.cycles.get("P14/2026-03").state


def test_a_portal_folder_gets_the_files_and_their_manifest(
    tmp_path: Path, trust: Authority
) -> None:
    home = home_with(tmp_path, trust, PORTAL)
    assert run(home)["portal"].state is DeliveryState.DELIVERED
    folder = home.settings.portal / "P14"
    assert {path.name for path in folder.iterdir()} == {*FILES, f"{STEM}.sha256"}
    for line in (folder / f"{STEM}.sha256").read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert state(home) is CycleState.DELIVERED


def test_what_was_delivered_is_not_touched_again(tmp_path: Path, trust: Authority) -> None:
    home = home_with(tmp_path, trust, PORTAL)
    run(home)
    for path in (home.settings.portal / "P14").iterdir():
        path.unlink()
    again = run(home, "P14/2026-03")["portal"]
    assert again.attempts == 1
    assert list((home.settings.portal / "P14").iterdir()) == []


def test_another_file_of_the_same_name_is_never_replaced(tmp_path: Path, trust: Authority) -> None:
    home = home_with(tmp_path, trust, PORTAL)
    folder = home.settings.portal / "P14"
    folder.mkdir(parents=True)
    (folder / f"{STEM}.xml").write_text("someone else's")
    failed = run(home)["portal"]
    assert failed.state is DeliveryState.FAILED
    assert "P14: FT 2026/000001 by channel portal" in failed.message
    assert (folder / f"{STEM}.xml").read_text() == "someone else's"
    (folder / f"{STEM}.xml").unlink()
    assert run(home)["portal"].state is DeliveryState.DELIVERED


def test_a_mail_carries_the_files_and_goes_once(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example", "b@polar.example"]}
    home = home_with(tmp_path, trust, channel, smtp_port=mailbox.port)
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    run(home, "FT 2026/000001")
    [message] = mailbox.messages
    attached = {part.get_filename() for part in message.walk() if part.get_filename()}
    assert attached == FILES
    assert message["To"] == "a@polar.example, b@polar.example"
    assert "FT 2026/000001" in message["Subject"]
    stored = home.registry.documents.get("P14/2026-03/invoice-EUR")
    pdf = next(p for p in message.walk() if p.get_filename() == f"{STEM}.pdf")
    content = pdf.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert hashlib.sha256(content).hexdigest() == stored.files["pdf"].sha256


def mail_home(tmp_path: Path, trust: Authority, mailbox: Mailbox) -> Installation:
    """A home whose partner gets mail and nothing else."""
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example"]}
    return home_with(tmp_path, trust, channel, smtp_port=mailbox.port)


def test_a_busy_mail_server_is_tried_again_with_the_same_message(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    mailbox.recipient_answers = ["451 try later"]
    mailbox.data_answers = ["452 full"]
    home = mail_home(tmp_path, trust, mailbox)
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    assert len(mailbox.messages) == 1


def test_a_mail_that_was_taken_is_sent_once_whatever_the_server_says_at_its_end(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    mailbox.quit_answer = "421 4.3.2 shutting down"
    home = mail_home(tmp_path, trust, mailbox)
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    assert len(mailbox.messages) == 1


def test_a_login_that_cannot_be_sent_is_told_and_holds_up_no_other_channel(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    home = home_with(
        tmp_path,
        trust,
        {"channel": "mail", "via": "mail", "to": ["a@polar.example"]},
        {"channel": "hook", "via": "webhook", "url": "https://localhost:1/", "secret": "hook"},
        PORTAL,
        smtp_port=mailbox.port,
        smtp_user="farol",
    )
    keep_secret(home, "smtp", "pässword")
    (home.settings.secrets / "hook").write_bytes(b"\xff\xfe")
    found = run(home)
    assert "not in ASCII" in found["mail"].message
    assert "no text in UTF-8" in found["hook"].message
    assert found["portal"].state is DeliveryState.DELIVERED


def test_a_sender_that_is_no_address_is_told(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    home = issued_home(
        tmp_path,
        {"delivery": [{"channel": "mail", "via": "mail", "to": ["a@polar.example"]}]},
        carrier={"contact_email": ""},
        ca_file=trust.file,
        smtp_host="localhost",
        smtp_port=mailbox.port,
    )
    assert "mend contact_email" in run(home)["mail"].message
    assert mailbox.messages == []


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"via": "mail", "to": ["jörg@polar.example"]}, "is not in ASCII"),
        ({"via": "mail", "to": ["a@pólar.example"]}, "xn--"),
        ({"via": "webhook", "url": "https://[::1/bills", "secret": "s"}, "is no address"),
        ({"via": "webhook", "url": "https://polar.example:99999/", "secret": "s"}, "is no address"),
        ({"via": "webhook", "url": f"https://{'a' * 70}.example/", "secret": "s"}, "no name of a"),
        ({"via": "sftp", "host": "a..b", "user": "u", "secret": "s"}, "no name of a host"),
        ({"via": "s3", "bucket": "our bills", "secret": "s"}, "bucket"),
        ({"via": "s3", "bucket": "bills", "endpoint": "https://[x", "secret": "s"}, "no address"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_when_it_is_loaded(
    channel: dict[str, Any], said: str
) -> None:
    more = {"host_key": "ssh-ed25519 AAAA"} if channel["via"] == "sftp" else {}
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(Channels).validate_python([{"channel": "one", **channel, **more}])


def test_a_bouncing_address_keeps_all_from_getting_it_and_is_named(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    mailbox.bounces = ("gone@polar.example",)
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example", "gone@polar.example"]}
    home = home_with(tmp_path, trust, channel, PORTAL, smtp_port=mailbox.port)
    found = run(home)
    assert found["portal"].state is DeliveryState.DELIVERED
    assert found["mail"].state is DeliveryState.FAILED
    for word in ("P14", "channel mail", "gone@polar.example", "550", "mend the address"):
        assert word in found["mail"].message
    assert mailbox.messages == []
    [finding] = home.registry.deliveries.findings("P14/2026-03")
    assert finding.message == found["mail"].message
    assert state(home) is CycleState.FINAL
    mailbox.bounces = ()
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    assert state(home) is CycleState.DELIVERED


def test_a_lost_answer_is_unknown_until_a_person_says(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    mailbox.drop_after_data = True
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example"]}
    home = home_with(tmp_path, trust, channel, smtp_port=mailbox.port)
    assert run(home)["mail"].state is DeliveryState.UNKNOWN
    mailbox.drop_after_data = False
    assert run(home)["mail"].state is DeliveryState.UNKNOWN
    assert len(mailbox.messages) == 1
    home.registry.deliveries.resolve(
        "P14/2026-03/invoice-EUR",
        "mail",
        arrived=False,
        reason="the partner looked for it",
        now=datetime.now(UTC),
        who="bruno",
    )
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    first, second = mailbox.messages
    assert first["Message-ID"] == second["Message-ID"]


def test_a_file_too_large_for_mail_goes_as_a_link_into_the_portal(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    channel = {
        "channel": "mail",
        "via": "mail",
        "to": ["a@polar.example"],
        "attach_up_to_mb": 1,
        "formats": ["pdf", "itemised"],
    }
    home = home_with(
        tmp_path, trust, channel, PORTAL, smtp_port=mailbox.port, itemised="x" * 1_100_000
    )
    assert run(home)["mail"].state is DeliveryState.DELIVERED
    [message] = mailbox.messages
    attached = {part.get_filename() for part in message.walk() if part.get_filename()}
    assert attached == {f"{STEM}.pdf"}
    body = next(p for p in message.walk() if p.get_content_type() == "text/plain")
    text = body.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert f"https://portal.example/P14/{STEM}.itemised.csv" in text.decode()


def test_a_large_file_without_a_portal_is_refused_by_name(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example"], "attach_up_to_mb": 1}
    home = home_with(tmp_path, trust, channel, smtp_port=mailbox.port, itemised="x" * 1_100_000)
    found = run(home)["mail"]
    assert found.state is DeliveryState.FAILED
    assert f"{STEM}.itemised.csv" in found.message
    assert "folder channel" in found.message


def test_a_mail_server_that_cannot_prove_itself_gets_nothing(
    tmp_path: Path, trust: Authority, mailbox: Mailbox
) -> None:
    channel = {"channel": "mail", "via": "mail", "to": ["a@polar.example"]}
    home = issued_home(
        tmp_path, {"delivery": [channel]}, smtp_host="localhost", smtp_port=mailbox.port
    )
    found = run(home)["mail"]
    assert found.state is DeliveryState.FAILED
    assert "ICB_CA_FILE" in found.message
    assert mailbox.messages == []
    assert trust.file.exists()


def sftp_channel(place: SftpPlace, **changes: Any) -> dict[str, Any]:
    return {
        "channel": "sftp",
        "via": "sftp",
        "host": "127.0.0.1",
        "port": place.port,
        "user": "farol",
        "host_key": place.host_key,
        "secret": "p14-sftp",
        **changes,
    }


def test_sftp_puts_whole_files_and_leaves_what_is_there(
    tmp_path: Path, trust: Authority, sftp: SftpPlace
) -> None:
    home = home_with(tmp_path, trust, sftp_channel(sftp))
    keep_secret(home, "p14-sftp", sftp.client_key)
    stored = home.registry.documents.get("P14/2026-03/invoice-EUR")
    kept = sftp.folder / f"{STEM}.xml"
    kept.write_bytes(home.blobs.get(stored.files["xml"].sha256))
    stamp = kept.stat().st_mtime_ns
    assert run(home)["sftp"].state is DeliveryState.DELIVERED
    assert {path.name for path in sftp.folder.iterdir()} == {*FILES, f"{STEM}.sha256"}
    assert kept.stat().st_mtime_ns == stamp


def test_a_server_with_another_host_key_gets_nothing(
    tmp_path: Path, trust: Authority, sftp: SftpPlace
) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+vKuqkJU3nKyGkH5ugDZRqZBnF/dHqkkw7ZXn7gDOy"
    home = home_with(tmp_path, trust, sftp_channel(sftp, host_key=other))
    keep_secret(home, "p14-sftp", sftp.client_key)
    found = run(home)["sftp"]
    assert found.state is DeliveryState.FAILED
    assert "host key" in found.message
    assert found.attempts == 1
    assert list(sftp.folder.iterdir()) == []


def test_a_missing_secret_and_a_missing_folder_are_told(
    tmp_path: Path, trust: Authority, sftp: SftpPlace
) -> None:
    home = home_with(tmp_path, trust, sftp_channel(sftp, folder="/not/there"))
    assert "p14-sftp" in run(home)["sftp"].message
    keep_secret(home, "p14-sftp", sftp.client_key)
    assert "/not/there" in run(home)["sftp"].message


def test_an_unreachable_server_does_not_hold_up_the_others(
    tmp_path: Path, trust: Authority, sftp: SftpPlace
) -> None:
    home = home_with(tmp_path, trust, sftp_channel(sftp, port=1), PORTAL)
    keep_secret(home, "p14-sftp", sftp.client_key)
    found = run(home)
    assert found["portal"].state is DeliveryState.DELIVERED
    assert found["sftp"].state is DeliveryState.FAILED
    assert "127.0.0.1:1" in found["sftp"].message
    assert "tries again" in found["sftp"].message


def s3_channel(endpoint: str, bucket: str) -> dict[str, Any]:
    return {
        "channel": "bucket",
        "via": "s3",
        "bucket": bucket,
        "prefix": "bills",
        "endpoint": endpoint,
        "secret": "p14-s3",
    }


def test_s3_creates_objects_and_never_replaces_them(
    tmp_path: Path, trust: Authority, s3: str
) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="docs")
    home = home_with(tmp_path, trust, s3_channel(s3, "docs"))
    keep_secret(home, "p14-s3", "a:b")
    stored = home.registry.documents.get("P14/2026-03/invoice-EUR")
    xml = home.blobs.get(stored.files["xml"].sha256)
    client.put_object(Bucket="docs", Key=f"bills/{STEM}.xml", Body=b"someone else's")
    assert "other content" in run(home)["bucket"].message
    client.put_object(Bucket="docs", Key=f"bills/{STEM}.xml", Body=xml)
    assert run(home)["bucket"].state is DeliveryState.DELIVERED
    keys = {one["Key"] for one in client.list_objects_v2(Bucket="docs")["Contents"]}
    assert keys == {f"bills/{name}" for name in {*FILES, f"{STEM}.sha256"}}


def test_a_missing_bucket_is_told(tmp_path: Path, trust: Authority, s3: str) -> None:
    home = home_with(tmp_path, trust, s3_channel(s3, "nowhere"))
    keep_secret(home, "p14-s3", "a:b")
    assert "no bucket nowhere" in run(home)["bucket"].message


def hook_channel(hook: Hook) -> dict[str, Any]:
    return {"channel": "hook", "via": "webhook", "url": hook.url, "secret": "p14-hook"}


def test_a_webhook_is_signed_and_repeated_under_the_same_id(
    tmp_path: Path, trust: Authority, hook: Hook
) -> None:
    hook.answers = [503, 204]
    home = home_with(tmp_path, trust, hook_channel(hook))
    keep_secret(home, "p14-hook", "our secret")
    assert run(home)["hook"].state is DeliveryState.DELIVERED
    run(home, "P14/2026-03")
    [(headers, body)] = hook.posts
    lower = {name.lower(): value for name, value in headers.items()}
    signed = f"{lower['webhook-id']}.{lower['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"our secret", signed, hashlib.sha256).digest())
    assert lower["webhook-signature"] == f"v1,{expected.decode()}"
    [message] = hook.bodies()
    assert message["document"]["gross"] == "118.08"
    assert {file["name"] for file in message["files"]} == FILES
    for file in message["files"]:
        assert hashlib.sha256(base64.b64decode(file["content"])).hexdigest() == file["sha256"]


def test_a_webhook_that_says_no_is_not_asked_again_in_the_same_run(
    tmp_path: Path, trust: Authority, hook: Hook
) -> None:
    hook.answers = [410]
    home = home_with(tmp_path, trust, hook_channel(hook))
    keep_secret(home, "p14-hook", "our secret")
    assert "answered 410" in run(home)["hook"].message
    assert hook.posts == []


def test_a_damaged_file_is_not_delivered(tmp_path: Path, trust: Authority) -> None:
    home = home_with(tmp_path, trust, PORTAL)
    stored = home.registry.documents.get("P14/2026-03/invoice-EUR")
    path = home.blobs.path(stored.files["pdf"].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    assert f"{STEM}.pdf is damaged" in run(home)["portal"].message


def test_our_own_systems_get_every_partners_documents(tmp_path: Path, trust: Authority) -> None:
    erp = {"channel": "erp", "via": "folder", "path": "erp", "formats": ["json"]}
    home = issued_home(
        tmp_path,
        {"partner": "P14"},
        {"partner": "P15", "delivery": [{"channel": "p", "via": "folder", "path": "P15"}]},
        carrier={"delivery": [erp]},
        ca_file=trust.file,
    )
    assert run(home)["FAROLINK:erp"].state is DeliveryState.DELIVERED
    names = {path.name for path in (home.settings.portal / "erp").iterdir()}
    assert {f"{STEM}.json", "FT-2026-000002.json"} <= names


def test_only_the_documents_of_a_kind_go_where_the_channel_says(
    tmp_path: Path, trust: Authority
) -> None:
    home = home_with(tmp_path, trust, {**PORTAL, "documents": ["credit_note"]})
    assert run(home) == {}
    assert state(home) is CycleState.FINAL


def test_the_cycle_shows_what_did_not_arrive(
    tmp_path: Path, trust: Authority, sftp: SftpPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_with(tmp_path, trust, sftp_channel(sftp))
    run(home)
    monkeypatch.setenv("ICB_HOME", str(home.settings.root))
    said = CliRunner().invoke(app, ["cycle", "show", "P14/2026-03", "--json"])
    [finding] = [one for one in json.loads(said.output)["findings"] if one["rule"] == "delivery"]
    for word in ("P14", "FT 2026/000001", "channel sftp", "secret p14-sftp"):
        assert word in finding["finding"]
    listed = CliRunner().invoke(app, ["delivery", "list", "--failed", "--json"])
    assert [one["delivery"] for one in json.loads(listed.output)] == [
        "P14/2026-03/invoice-EUR/sftp"
    ]
