"""Real servers on loopback: SMTP with STARTTLS, SFTP, S3, and HTTPS, each keeping what it got."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import trustme
from aiosmtpd import smtp
from aiosmtpd.controller import Controller


@dataclass(frozen=True)
class Authority:
    """An authority of its own, its file, and a context for servers on loopback."""

    file: Path
    context: ssl.SSLContext


def authority(folder: Path) -> Authority:
    """Make an authority and a certificate for `localhost`."""
    made = trustme.CA()
    file = folder / "authority.pem"
    made.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Authority(file, context)


@dataclass
class Mailbox:
    """A mail server: `answers` are given to the next recipients or messages before it says yes."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    recipient_answers: list[str] = field(default_factory=list)
    data_answers: list[str] = field(default_factory=list)
    drop_after_data: bool = False
    bounces: tuple[str, ...] = ()
    quit_answer: str = "221 bye"

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802
        if address in self.bounces:
            return "550 5.1.1 no such mailbox"
        if self.recipient_answers:
            return self.recipient_answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, _session, envelope):  # noqa: N802
        if self.data_answers:
            return self.data_answers.pop(0)
        self.messages.append(message_from_bytes(envelope.content))
        if self.drop_after_data:
            server.transport.abort()
        return "250 queued"

    async def handle_QUIT(self, _server, _session, _envelope):  # noqa: N802
        return self.quit_answer


class _Starttls(Controller):
    def factory(self) -> smtp.SMTP:
        return smtp.SMTP(
            self.handler,
            tls_context=self.context,  # pyright: ignore[reportAttributeAccessIssue]
            require_starttls=True,
            hostname="localhost",
            data_size_limit=None,
        )


@contextmanager
def mail_server(context: ssl.SSLContext) -> Iterator[Mailbox]:
    """A mail server that speaks only after STARTTLS."""
    box = Mailbox()
    controller = _Starttls(box, hostname="127.0.0.1", port=_free_port())
    controller.context = context  # pyright: ignore[reportAttributeAccessIssue]
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


@dataclass
class SftpPlace:
    """An SFTP server's address, key and folder."""

    port: int
    host_key: str
    folder: Path
    client_key: str


@contextmanager
def sftp_server(folder: Path) -> Iterator[SftpPlace]:
    """An SFTP server that lets user `farol` in by one key, into a folder."""
    folder.mkdir()
    host = asyncssh.generate_private_key("ssh-ed25519")
    client = asyncssh.generate_private_key("ssh-ed25519")
    ready = threading.Event()
    place: list[SftpPlace] = []
    loop = asyncio.new_event_loop()

    async def serve() -> Any:
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host],
            authorized_client_keys=asyncssh.import_authorized_keys(
                client.export_public_key().decode()
            ),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )
        place.append(
            SftpPlace(
                server.get_port(),
                " ".join(host.export_public_key().decode().split()[:2]),
                folder,
                client.export_private_key().decode(),
            )
        )
        ready.set()
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(serve())
        loop.run_forever()
        server.close()
        loop.run_until_complete(server.wait_closed())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield place[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@dataclass
class Hook:
    """An HTTPS server: `answers` are given before it says 204."""

    port: int = 0
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/bills"

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.posts]


@contextmanager
def hook_server(context: ssl.SSLContext) -> Iterator[Hook]:
    """An HTTPS server that keeps what is posted."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            code = hook.answers.pop(0) if hook.answers else 204
            if code < 300:
                hook.posts.append((dict(self.headers), body))
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
