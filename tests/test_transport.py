"""Every way the network fails, on real sockets, and what each is called."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from helpers import KEY, Run
from servers import (
    MESSAGE,
    Answer,
    RawServer,
    answer,
    answering_anything,
    drip,
    hang,
    reset,
    serving,
)

from claude_ping import api, ping, transport
from claude_ping.ping import Caller
from claude_ping.records import Failure, Fault, Phase, PingError, Reply, Request, Response, Secret
from claude_ping.transport import Trace

OK = answer()
LATER = (
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 What\r\na: b\r\n\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def ask(url: str, timeout: float = 5.0) -> tuple[Reply | Failure, Trace]:
    """One attempt, without the thread around it."""
    request = Request("POST", f"{url}/v1/messages", {"x-api-key": Secret(KEY)}, {"model": "m"})
    trace = Trace(transport.find_route(request.url), time.monotonic() + timeout)
    return ping.converse(request, read, Caller(trace, 0, lambda _: None)), trace


def read(response: Response) -> Reply:
    return api.read_reply(api.read_answer(response))


def failed(url: str, timeout: float = 5.0) -> tuple[Failure, Trace]:
    outcome, trace = ask(url, timeout)
    assert isinstance(outcome, Failure)
    return outcome, trace


MISBEHAVIOUR: dict[str, tuple[Answer, Fault, str]] = {
    "closes before the status line": (b"", Fault.LOST, "closed without an answer"),
    "resets before the status line": (reset, Fault.LOST, "Connection reset by peer"),
    "closes within the status line": (b"HTTP/1.1 20", Fault.NOT_HTTP, "HTTP/1.1 20"),
    "speaks something else": (b"SSH-2.0-OpenSSH_9\r\n", Fault.NOT_HTTP, "SSH-2.0-OpenSSH_9"),
    "sends a status that is no number": (
        b"HTTP/1.1 ok fine\r\n\r\n",
        Fault.NOT_HTTP,
        "HTTP/1.1 ok",
    ),
    "sends an endless header line": (
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        Fault.NOT_HTTP,
        "got more than 65536 bytes",
    ),
    "sends too many headers": (
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200,
        Fault.NOT_HTTP,
        "got more than 100 headers",
    ),
    "sends a body shorter than promised": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
        Fault.CUT,
        "the body ended early",
    ),
    "cuts a chunk": (CHUNKED + b"9\r\n{", Fault.CUT, "the body ended early"),
    "sends a chunk without a size": (CHUNKED + b"zz\r\n{", Fault.CUT, "the body ended early"),
    "sends no last chunk": (CHUNKED + b"1\r\n{\r\n", Fault.CUT, "the body ended early"),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_misbehaving_server_gives_a_named_failure(name: str) -> None:
    misbehaviour, fault, message = MISBEHAVIOUR[name]
    with serving(misbehaviour) as server:
        failure, trace = failed(server.url)

    assert failure.fault is fault
    assert message in failure.message
    assert failure.status == (200 if fault is Fault.CUT else None)
    assert trace.sent


def test_a_reset_within_the_body_is_a_cut_answer() -> None:
    def begin_then_reset(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
        time.sleep(0.1)  # the client must have read the beginning before the reset discards it
        reset(connection, server)

    with serving(begin_then_reset) as server:
        failure, _ = failed(server.url)

    assert failure.fault is Fault.CUT


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(LATER + OK, id="interim answers first"),
        pytest.param(OK + b"and more than was promised", id="more than promised"),
        pytest.param(re.sub(rb"content-length: \d+\r\n", b"", OK), id="a body ended by closing"),
    ],
)
def test_an_unusual_but_valid_answer_is_read(good: bytes) -> None:
    with serving(good) as server:
        outcome, trace = ask(server.url)

    assert isinstance(outcome, Reply)
    assert outcome.message == MESSAGE
    assert trace.phase is Phase.READING


def test_an_error_with_a_cut_body_keeps_its_status() -> None:
    with serving(b"HTTP/1.1 401 X\r\ncontent-length: 99\r\n\r\n{") as server:
        failure, _ = failed(server.url)

    assert (failure.fault, failure.status, failure.message) == (Fault.HTTP, 401, "{")


def test_headers_that_come_twice_are_joined() -> None:
    with serving(answer(400, b"", {"x-a": "1\r\nX-A: 2"})) as server:
        failure, _ = failed(server.url)

    assert failure.answer
    assert failure.answer.headers["x-a"] == "1, 2"


def test_a_body_over_the_limit_is_not_read_further() -> None:
    def flood(connection: socket.socket, _server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        piece = b" " * (1 << 20)
        for _ in range(40):
            connection.sendall(piece)

    with serving(flood) as server:
        failure, _ = failed(server.url)

    assert failure.fault is Fault.TOO_LARGE


def test_an_answer_before_the_request_was_read_is_still_an_answer() -> None:
    with answering_anything(answer(413, b"")) as address:
        request = Request("POST", f"http://{address}", {}, {"long": "x" * (8 << 20)})
        trace = Trace(transport.find_route(request.url), time.monotonic() + 5)
        outcome = ping.converse(request, read, Caller(trace, 0, lambda _: None))

    assert isinstance(outcome, Failure)
    assert outcome.status == 413


def test_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    failure, trace = failed(f"http://127.0.0.1:{port}")

    assert failure.fault is Fault.REFUSED
    assert not trace.sent
    assert trace.journey().tried == ("127.0.0.1",)


def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def twice(host: str, port: int, **options: int) -> object:
        found = look_up("127.0.0.1", port, **options)
        family, kind, protocol, name, _ = found[0]
        return [(family, kind, protocol, name, ("127.0.0.2", port)), *found]

    with serving(OK) as server:
        monkeypatch.setattr(socket, "getaddrinfo", twice)
        outcome, trace = ask(server.url)

    assert isinstance(outcome, Reply)
    assert trace.journey().tried == ("127.0.0.2", "127.0.0.1")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Fault.NAME_NOT_FOUND),
        (socket.gaierror(11001, "getaddrinfo failed"), Fault.NAME_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), Fault.NAME_UNAVAILABLE),
        (UnicodeError("label too long"), Fault.NAME_NOT_FOUND),
        (OSError(101, "Network is unreachable"), Fault.UNREACHABLE),
    ],
)
def test_a_name_that_does_not_resolve(
    monkeypatch: pytest.MonkeyPatch, error: Exception, fault: Fault
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    failure, trace = failed("https://api.example")

    assert failure.fault is fault
    assert trace.phase is Phase.LOOKING_UP
    assert not trace.sent


def test_a_name_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])

    failure, _ = failed("https://api.example")

    assert (failure.fault, failure.message) == (Fault.UNREACHABLE, "the name has no address")


# TLS, with a certificate authority of the tests' own.


class Authority:
    """A CA and the certificates that it signs well or badly."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def server(
        self, *names: str, authority: trustme.CA | None = None, **options: object
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer = authority or self.ca
        issuer.issue_cert(*(names or ("localhost",)), **options).configure_cert(context)  # type: ignore[arg-type]
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


def test_a_trusted_certificate_is_accepted_and_its_time_told(trusted: Authority) -> None:
    with serving(OK, tls=trusted.server()) as server:
        outcome, trace = ask(server.url)

    timing = trace.timing(1.0)
    assert isinstance(outcome, Reply)
    assert timing.connect
    assert timing.tls
    assert timing.first_byte
    assert timing.rest
    assert timing.total == 1.0


DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


def untrusted(authority: Authority) -> ssl.SSLContext:
    return authority.server(authority=trustme.CA())


def self_signed(authority: Authority) -> ssl.SSLContext:
    stranger = trustme.CA()
    leaf = stranger.issue_cert("localhost")
    chain = authority.file.with_name("chain.pem")
    chain.write_bytes(leaf.private_key_and_cert_chain_pem.bytes() + stranger.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def expired(authority: Authority) -> ssl.SSLContext:
    return authority.server("localhost", not_before=NOW - 2 * DAY, not_after=NOW - DAY)


def not_yet_valid(authority: Authority) -> ssl.SSLContext:
    return authority.server("localhost", not_before=NOW + DAY, not_after=NOW + 2 * DAY)


def wrong_host(authority: Authority) -> ssl.SSLContext:
    return authority.server("elsewhere.example")


@pytest.mark.parametrize(
    ("certificate", "fault"),
    [
        (untrusted, Fault.TLS_UNKNOWN_ISSUER),
        (self_signed, Fault.TLS_INTERCEPTED),
        (expired, Fault.TLS_EXPIRED),
        (not_yet_valid, Fault.TLS_NOT_YET_VALID),
        (wrong_host, Fault.TLS_WRONG_HOST),
    ],
)
def test_a_bad_certificate_is_named_and_the_key_kept(
    trusted: Authority, certificate: object, fault: Fault
) -> None:
    with serving(OK, tls=certificate(trusted)) as server:  # type: ignore[operator]
        failure, trace = failed(server.url)

    assert failure.fault is fault
    assert not trace.sent
    assert server.requests == []


def test_https_to_a_plain_port_is_named(trusted: Authority) -> None:
    with answering_anything(b"HTTP/1.0 400 Bad Request\r\n\r\n") as address:
        failure, trace = failed(f"https://{address}")

    assert failure.fault is Fault.TLS_NOT_TLS
    assert not trace.sent


def test_a_demand_for_a_client_certificate_is_named(trusted: Authority) -> None:
    context = trusted.server()
    context.verify_mode = ssl.CERT_REQUIRED
    trusted.ca.configure_trust(context)
    with serving(OK, tls=context) as server:
        failure, _ = failed(server.url)

    assert failure.fault is Fault.TLS_CLIENT_CERTIFICATE


def test_no_common_tls_version_is_a_tls_failure(trusted: Authority) -> None:
    context = trusted.server()
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # for a kind of key that it has not
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(OK, tls=context) as server:
        failure, trace = failed(server.url)

    assert failure.fault is Fault.TLS_OTHER
    assert not trace.sent


def test_a_connection_closed_within_the_handshake_is_lost(trusted: Authority) -> None:
    with answering_anything(b"") as address:
        failure, trace = failed(f"https://{address}")

    assert failure.fault is Fault.LOST
    assert trace.phase is Phase.TLS
    assert not trace.sent


def test_a_dripping_body_is_left_at_the_deadline() -> None:
    with serving(drip(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 9999, 0.001)) as server:
        failure, trace = failed(server.url, timeout=0.2)

    assert failure.fault is Fault.TIMEOUT
    assert trace.phase is Phase.READING


def test_an_error_whose_body_stalls_keeps_its_class(run: Run, key: str) -> None:
    def stall(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 401 X\r\ncontent-length: 99\r\nrequest-id: req_7\r\n\r\n")
        hang(connection, server)

    with serving(stall) as server:
        ran = run("--base-url", server.url, "--timeout", "0.3")

    assert ran.code == 4
    assert "✗ 401 the rest did not come in time" in ran.err
    assert "request-id req_7" in ran.err


def test_a_key_log_that_cannot_be_written_is_refused(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/keys")

    ran = run("--base-url", "https://localhost:1")

    assert ran.code == 3
    assert "cannot set up TLS: " in ran.err


def test_what_an_earlier_attempt_sent_is_not_denied(run: Run, key: str) -> None:
    def close_for_good(connection: socket.socket, server: RawServer) -> None:
        server.listener.shutdown(socket.SHUT_RDWR)

    with serving(close_for_good) as server:
        ran = run("--base-url", server.url, "--retries", "1")

    assert ran.code == 6
    assert "refused the connection" in ran.err
    assert "An earlier attempt had sent the request, with the key." in ran.err


# Proxies.


@contextlib.contextmanager
def forward_proxy(verdict: bytes = b"200 OK", password: str | None = None) -> Iterator[RawServer]:
    """A proxy that opens tunnels: to wherever it is asked, if it is asked right."""

    def tunnel(connection: socket.socket, server: RawServer) -> None:
        asked = server.requests[-1].decode()
        expected = base64.b64encode(f"user:{password}".encode()).decode()
        if password and f"Basic {expected}" not in asked:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 " + verdict + b"\r\n\r\n")
        if not verdict.startswith(b"200"):
            return
        port = int(asked.split()[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            pump(connection, upstream)

    with serving(tunnel) as server:
        yield server


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until the server has closed."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    back = threading.Thread(target=copy, args=(other, one))
    back.start()
    copy(one, other)
    back.join()


# A host that is not loopback by name, so that the proxy is used; it never leaves the machine.
FAR = "https://api.example"


def test_a_proxy_carries_the_request(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch, run: Run, key: str
) -> None:
    with serving(OK, tls=trusted.server("api.example")) as server, forward_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ran = run("--base-url", f"{FAR}:{server.port}")

    assert ran.code == 0
    assert proxy.requests[0].startswith(f"CONNECT api.example:{server.port} ".encode())
    assert key.encode() not in proxy.requests[0]
    assert key.encode() in server.requests[0]


def test_a_proxy_with_a_password_gets_it_and_nobody_else_sees_it(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch, run: Run, key: str
) -> None:
    with (
        serving(answer(500, b"p%40ssw0rd p@ssw0rd"), tls=trusted.server("api.example")) as server,
        forward_proxy(password="p@ssw0rd") as proxy,
    ):
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ssw0rd@{address}")
        ran = run("--base-url", f"{FAR}:{server.port}", "--retries", "0")

    assert ran.code == 5
    assert f"Is the proxy {address} the right one?" in ran.err
    assert "ssw0rd" not in ran.err


@pytest.mark.parametrize(
    ("verdict", "message"),
    [(b"403 Forbidden", "403 Forbidden"), (b"407 Proxy Authentication Required", "407 Proxy")],
)
def test_a_proxy_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, run: Run, key: str, verdict: bytes, message: str
) -> None:
    with forward_proxy(verdict) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ran = run("--base-url", FAR)

    assert ran.code == 6
    assert f"the proxy 127.0.0.1:{proxy.port} refused the tunnel: {message}" in ran.err
    assert "The key was not sent." in ran.err


def test_a_proxy_that_is_not_there_is_named_as_what_refused(
    monkeypatch: pytest.MonkeyPatch, run: Run, key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", address)

    ran = run("--base-url", FAR, "--retries", "0")

    assert ran.code == 6
    assert f"✗ {address} (the proxy) refused the connection" in ran.err


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("socks5://user:secret@h:1", "the proxy socks5://h:1 (HTTPS_PROXY) is of a kind"),
        ("http://h:port", "has a bad host or port"),
        ("http://:3128", "has a bad host or port"),
        ("https://user:secret@h:1", "the proxy https://h:1 (HTTPS_PROXY) is of a kind"),
        ("http://user:secret/x#secret:y", "has a bad host or port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, run: Run, key: str, proxy: str, problem: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    ran = run()

    assert ran.code == 3
    assert problem in ran.err
    assert "secret" not in ran.err


def test_loopback_and_excepted_hosts_go_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")

    assert transport.find_route("http://127.0.0.1:1/v1/messages").via is None
    assert transport.find_route("https://api.example.org/v1/messages").via is None
    assert transport.find_route("https://api.example/v1/messages").via == "127.0.0.1:9"


def test_a_ca_file_that_is_missing_is_said() -> None:
    assert transport.tls_facts({})["ca_file"] is None
    assert transport.tls_facts({"SSL_CERT_FILE": "/no/ca.pem"})["ca_file"] == (
        "SSL_CERT_FILE names /no/ca.pem, which does not exist."
    )


# The one clock.


@pytest.mark.parametrize(
    ("slow", "phase"),
    [
        pytest.param(hang, Phase.WAITING, id="never answers"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n" * 99), Phase.WAITING, id="drips headers"),
        pytest.param(
            drip(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 999, 0.001), Phase.READING, id="drips the body"
        ),
    ],
)
def test_the_deadline_holds(run: Run, key: str, slow: Answer, phase: Phase) -> None:
    with serving(slow) as server:
        started = time.monotonic()
        ran = run("--base-url", server.url, "--timeout", "0.3")
        took = time.monotonic() - started

    assert ran.code == 6
    assert f"no answer within 0.3 s: timed out while {phase.value}" in ran.err
    assert took < 2
    assert len(server.requests) == 1


def test_the_deadline_holds_against_a_look_up_that_hangs(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "late")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    ran = run("--timeout", "0.3")
    over.set()

    assert ran.code == 6
    assert "timed out while looking up the name" in ran.err
    assert "The key was not sent." in ran.err


def test_the_deadline_holds_within_a_tls_handshake(run: Run, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = run("--base-url", f"https://127.0.0.1:{port}", "--timeout", "0.3")

    assert ran.code == 6
    assert "timed out while agreeing on TLS" in ran.err


def test_the_deadline_holds_against_a_full_accept_queue(run: Run, key: str) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # more than the queue holds; the kernel drops what comes after
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ran = run("--base-url", url, "--timeout", "0.3")

    assert ran.code == 6
    assert "timed out while connecting" in ran.err
    assert "The key was not sent." in ran.err


def test_only_network_errors_are_named() -> None:
    with serving(OK) as server:
        request = Request("POST", server.url, {"x": "a\nb"})
        trace = Trace(transport.find_route(server.url), time.monotonic() + 5)
        with (
            pytest.raises(ValueError, match="Invalid header value"),
            transport.exchange(request, b"", trace),
        ):
            pass


def test_a_failure_is_carried_with_its_cause() -> None:
    with serving(b"") as server:
        request = Request("POST", server.url, {})
        trace = Trace(transport.find_route(server.url), time.monotonic() + 5)
        with pytest.raises(PingError) as caught, transport.exchange(request, b"", trace):
            pass

    assert isinstance(caught.value.__cause__, ConnectionResetError)
