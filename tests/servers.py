"""Loopback servers, proxies and certificates that behave as no well-behaved ones would."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What to do with a connection whose request has been read: send these bytes, or whatever.
Answer = bytes | Callable[[socket.socket, "RawServer"], None]

MESSAGE: Mapping[str, Any] = {
    "id": "msg_01Test",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": "pong"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 15, "output_tokens": 4},
}


def answer(status: int = 200, body: Any = MESSAGE, headers: dict[str, str] | None = None) -> bytes:
    """A well-formed HTTP answer; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-length": str(len(data)), "content-type": "application/json"} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data


def error(kind: str, message: str, **details: str) -> dict[str, Any]:
    """An error in the API's own shape."""
    return {"type": "error", "error": {"type": kind, "message": message, "details": details}}


def listing(*models: str | dict[str, Any], **fields: Any) -> bytes:
    """The API's list of these models, the newest first."""
    data = [
        {"type": "model", "id": model, "created_at": f"{2026 - age}-02-01T00:00:00Z"}
        if isinstance(model, str)
        else model
        for age, model in enumerate(models)
    ]
    return answer(200, {"data": data, "has_more": False} | fields, {"request-id": "req_models"})


def routed(**answers: Answer) -> Answer:
    """Answer by the method, and a POST by the model that it asks for, if that is named here."""

    def respond(connection: socket.socket, server: RawServer) -> None:
        head, _, body = server.requests[-1].partition(b"\r\n\r\n")
        model = json.loads(body)["model"].replace("-", "_") if body else ""
        act(answers.get(model) or answers[head.split()[0].decode()], connection, server)

    return respond


def act(chosen: Answer, connection: socket.socket, server: RawServer) -> None:
    """Send the bytes, or do whatever it is."""
    if isinstance(chosen, bytes):
        connection.sendall(chosen)
    else:
        chosen(connection, server)


def reset(connection: socket.socket, _server: RawServer) -> None:
    """Close with RST, as a firewall does."""
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def hang(_connection: socket.socket, server: RawServer) -> None:
    """Say nothing until the test is over."""
    server.over.wait(30)


def drip(data: bytes, pause: float = 0.02) -> Answer:
    """Send one byte at a time, until the client has gone."""

    def drip(connection: socket.socket, server: RawServer) -> None:
        for position in range(len(data)):
            if server.over.wait(pause):
                return
            connection.sendall(data[position : position + 1])

    return drip


def flood(head: bytes, piece: bytes) -> Answer:
    """Send the head, then the piece again and again, until the client has gone."""

    def flood(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(head)
        while not server.over.is_set():
            connection.sendall(piece)

    return flood


def then(data: bytes, following: Answer, pause: float = 0.0) -> Answer:
    """Send the bytes, and after the pause do something else."""

    def respond(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(data)
        server.over.wait(pause)
        act(following, connection, server)

    return respond


class RawServer:
    """Accepts connections one after the other; each gets the next answer, the last one for ever."""

    def __init__(self, answers: tuple[Answer, ...], tls: ssl.SSLContext | None) -> None:
        self.answers = answers
        self.tls = tls
        self.connections = 0
        self.requests: list[bytes] = []
        self.read: Callable[[socket.socket], bytes] = read_request
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{'localhost' if tls else '127.0.0.1'}:{self.port}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.over.is_set():
                connection.close()
                return
            chosen = self.answers[min(self.connections, len(self.answers) - 1)]
            self.connections += 1
            threading.Thread(target=self._handle, args=(connection, chosen), daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        # Not every system wakes a thread that accepts when the socket is closed.
        with contextlib.suppress(OSError), dial(self.port):
            pass
        self.listener.close()

    def _handle(self, connection: socket.socket, chosen: Answer) -> None:
        with contextlib.suppress(OSError), connection:
            if self.tls is None:
                self._respond(connection, chosen)
                return
            with self.tls.wrap_socket(connection, True, False) as secured:
                try:
                    secured.do_handshake()
                except ssl.SSLError:
                    # Else what is unread makes the close a reset, which overtakes the TLS alert.
                    while socket.socket.recv(secured, 65536):
                        pass
                else:
                    self._respond(secured, chosen)

    def _respond(self, connection: socket.socket, chosen: Answer) -> None:
        # Unread input would turn the close into a reset.
        self.requests.append(self.read(connection))
        act(chosen, connection, self)


def read_request(connection: socket.socket) -> bytes:
    """Read one HTTP request whole, or what comes first if it is none."""
    data = b""
    while b"\r\n\r\n" not in data and (chunk := connection.recv(65536)):
        data += chunk
        if not re.match(rb"[A-Z]+( |$)", data):
            return data
    length = re.search(rb"(?i)content-length: (\d+)", data)
    wanted = int(length[1]) if length else 0
    while len(data.partition(b"\r\n\r\n")[2]) < wanted and (chunk := connection.recv(1 << 20)):
        data += chunk
    return data


def dial(port: int) -> socket.socket:
    """Connect to this machine without asking for its name."""
    with contextlib.ExitStack() as undo:
        connection = undo.enter_context(socket.socket())
        connection.connect(("127.0.0.1", port))
        undo.pop_all()
    return connection


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Run a server for the time of the block."""
    server = RawServer(answers, tls)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)


@contextmanager
def answering_anything(data: bytes) -> Iterator[str]:
    """Send these bytes to whoever says anything, however much is to come; yield host:port."""
    with serving(data) as server:
        server.read = lambda connection: connection.recv(65536)
        yield f"localhost:{server.port}"


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def silent(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that neither accepts nor refuses, as behind a firewall; on Linux only."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):  # more than the queue holds; the kernel drops what comes after
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def proxying(refusal: bytes = b"", credentials: str = "") -> Iterator[RawServer]:
    """A proxy that leads any name to this machine, if it is asked right and does not refuse."""
    basic = b"Basic " + base64.b64encode(credentials.encode())

    def tunnel(connection: socket.socket, server: RawServer) -> None:
        asked = server.requests[-1]
        if refusal or (credentials and basic not in asked):
            connection.sendall(refusal or b"HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\n\r\n")
            return
        with dial(int(asked.split()[1].rpartition(b":")[2])) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
            back.start()
            copy(connection, upstream)
            back.join(5)

    with serving(tunnel) as server:
        yield server


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Authority:
    """A certificate authority, and the servers that it vouches for well or badly."""

    def __init__(self, folder: Path, name: str) -> None:
        import trustme  # noqa: PLC0415 large: what this process holds would count in the benchmark

        self.ca = trustme.CA(organization_name=name, organization_unit_name=name)
        self.file = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def server(
        self, host: str = "localhost", days: tuple[float, float] = (-9, 9), *, rooted: bool = False
    ) -> ssl.SSLContext:
        """For a certificate valid from and until so many days from now, with its root or not."""
        start, end = (dt.datetime.now(dt.UTC) + dt.timedelta(days=number) for number in days)
        leaf = self.ca.issue_cert(host, not_before=start, not_after=end)
        pem = leaf.private_key_and_cert_chain_pem.bytes()
        return self._context(pem + self.ca.cert_pem.bytes() if rooted else pem)

    def itself(self) -> ssl.SSLContext:
        """For the authority's own certificate, which it signed itself."""
        return self._context(self.ca.private_key_pem.bytes() + self.ca.cert_pem.bytes())

    def _context(self, pem: bytes) -> ssl.SSLContext:
        chain = self.file.with_suffix(".chain")
        chain.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context
