"""Loopback servers that answer in ways no well-behaved server would."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


def reset(connection: socket.socket, _server: RawServer) -> None:
    """Close with RST, as a firewall does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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


class RawServer:
    """Accepts connections one after the other; each gets the next answer, the last one for ever."""

    def __init__(self, answers: tuple[Answer, ...], tls: ssl.SSLContext | None) -> None:
        self.answers = answers
        self.tls = tls
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{'localhost' if tls else '127.0.0.1'}:{self.port}"

    def serve(self) -> None:
        for number in range(1000):
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            chosen = self.answers[min(number, len(self.answers) - 1)]
            threading.Thread(target=self._handle, args=(connection, chosen), daemon=True).start()

    def _handle(self, connection: socket.socket, chosen: Answer) -> None:
        with contextlib.suppress(OSError), connection:
            if self.tls is None:
                self._respond(connection, chosen)
                return
            with self.tls.wrap_socket(connection, server_side=True) as secured:
                self._respond(secured, chosen)

    def _respond(self, connection: socket.socket, chosen: Answer) -> None:
        # Unread input would turn the close into a reset.
        self.requests.append(read_request(connection))
        if isinstance(chosen, bytes):
            connection.sendall(chosen)
        else:
            chosen(connection, self)


@contextmanager
def answering_anything(data: bytes) -> Iterator[str]:
    """Send these bytes to the first client that says anything, then close; yield host:port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        yield f"localhost:{listener.getsockname()[1]}"
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read one HTTP request whole."""
    data = b""
    while b"\r\n\r\n" not in data and (chunk := connection.recv(65536)):
        data += chunk
    length = re.search(rb"(?i)content-length: (\d+)", data)
    while length and len(data.partition(b"\r\n\r\n")[2]) < int(length[1]):
        data += connection.recv(65536)
    return data


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Run a server for the time of the block."""
    server = RawServer(answers, tls)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        with contextlib.suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(5)
