"""The network: one request, one answer, and a name for every way it can fail."""

from __future__ import annotations

import http.client
import math
import os
import re
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.error import URLError

from claude_ping.records import Answer, Exchange, Failure, Phase, Request, Secret
from claude_ping.render import in_words

MAX_BODY = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes
ADDRESS_TIMEOUT = 5.0  # seconds; what official SDKs give an address, too


class _Response(http.client.HTTPResponse):
    """Passes over every interim answer, and reads what a proxy says when it refuses."""

    def __init__(self, *args: Any, exchange: Exchange, **options: Any) -> None:
        super().__init__(*args, **options)
        self.exchange = exchange

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if self.exchange.phase is not Phase.PROXY or status == 200:
            # Of the interim ones http.client itself passes over 100 alone.
            return version, 100 if 102 <= status < 200 else status, reason
        offers = http.client.parse_headers(self.fp).get_all("proxy-authenticate", [])
        schemes = re.findall(r"(?:^|,) *([A-Za-z][\w-]*)(?= |,|$)", ", ".join(offers))
        takes_password = not schemes or "basic" in map(str.lower, schemes)
        has_login = "@" in (self.exchange.proxy or "")
        fault = "proxy down" if status >= 500 else "proxy refused"
        raise Failure(
            "proxy password" if status == 407 else fault,
            f"{status} {reason.strip()}".strip(),
            proxy_offers=", ".join(schemes) or None,
            proxy_negotiates=not takes_password,
            proxy_login=takes_password and has_login,
            proxy_basic=takes_password and not has_login,
            # Before 3.12 http.client asks in HTTP/1.0; but a 403 is the proxy's policy.
            http10=sys.version_info < (3, 12) and status != 403,
            python=sys.version.split()[0],
        )


class _Connection(http.client.HTTPConnection):
    """Tells its exchange how far it got."""

    def __init__(
        self, host: str, *, exchange: Exchange, tls: ssl.SSLContext | None = None, **options: Any
    ) -> None:
        self.default_port = 443 if tls else 80
        super().__init__(host, **options)
        self.exchange, self.tls = exchange, tls
        self.response_class = partial(_Response, exchange=exchange)  # type: ignore[assignment]

    def connect(self) -> None:
        self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.exchange.proxy:
            self.exchange.enter(Phase.PROXY)
            self._tunnel()  # type: ignore[attr-defined]
        if self.tls:
            self.exchange.enter(Phase.TLS)
            name = self._tunnel_host or self.host  # type: ignore[attr-defined]
            self.sock = sock = self.tls.wrap_socket(
                self.sock, server_hostname=name, do_handshake_on_connect=False
            )
            try:
                sock.do_handshake()
            except ssl.SSLCertVerificationError as error:
                raise _distrust(error, sock) from error
        self.exchange.enter(Phase.WAITING)
        self.exchange.sent = True  # or about to be: what is in doubt counts as sent

    def _dial(self) -> None:
        """Connect to the first address that answers; none but the last may use up the time."""
        exchange = self.exchange
        exchange.enter(Phase.DNS)
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        exchange.enter(Phase.TCP)
        while True:
            *kind, _name, sockaddr = found.pop(0)
            exchange.address = str(sockaddr[0])
            longest = ADDRESS_TIMEOUT if found else math.inf
            try:
                with socket.socket(*kind) as sock:
                    # Zero would mean not to wait at all.
                    sock.settimeout(max(min(exchange.remaining, longest), 0.001))
                    sock.connect(sockaddr)
                    self.sock = sock.dup()
                break
            except OSError as error:
                if not found:
                    raise
                if isinstance(error, TimeoutError):
                    exchange.silent.append(exchange.address)
        self.sock.settimeout(max(exchange.remaining, 0.001))

    def request(self, *args: Any, **options: Any) -> None:
        try:
            super().request(*args, **options)
        except (ConnectionError, ssl.SSLEOFError):
            # Why it closed before it had read everything, "too large" or "no client
            # certificate", may be there to be read.
            if self.exchange.phase is not Phase.WAITING:
                raise


_CODES = {9: "TLS not yet valid", 10: "TLS expired", 62: "TLS wrong host", 64: "TLS wrong host"}


def _distrust(error: ssl.SSLCertVerificationError, sock: ssl.SSLSocket) -> Failure:
    """Say what is wrong with the certificate that the failed handshake was presented."""
    code, said = error.verify_code, error.verify_message
    facts: dict[str, Any] = {"untrusted": said, "issuer_unknown": True}
    # A private interface, and not in every Python.
    with suppress(AttributeError, LookupError, TypeError):
        presented = sock._sslobj.get_unverified_chain()[0].get_info()  # type: ignore[attr-defined] # noqa: SLF001
        if code in (2, 19, 20, 21):  # the issuer is what is not trusted
            issuer = dict(pair for name in presented["issuer"] for pair in name)
            name = issuer.get("commonName") or issuer["organizationName"]
            facts = {"untrusted": f'issued by "{name}"'}
        past = time.time() - ssl.cert_time_to_seconds(presented["notAfter"])
        age = "1 day" if 1 <= past / 86_400 < 2 else in_words(past)
        facts["expired"] = f"{age} ago" if past > 0 else None  # else its issuer's has
        facts["not_before"] = presented["notBefore"]
    folder = ssl.get_default_verify_paths().capath  # whose files are read as they are needed
    has_roots = sock.context.cert_store_stats()["x509_ca"] or (folder and os.listdir(folder))
    facts |= {"empty_store": not has_roots, "macos": sys.platform == "darwin"}
    return Failure(_CODES.get(code, "TLS not trusted"), said, **facts)


class _Handler(urllib.request.AbstractHTTPHandler):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self.exchange = exchange

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, exchange=self.exchange), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Trust what official SDKs do: SSL_CERT_FILE alone where it is set, else the system's."""
        context = ssl.create_default_context(cafile=self.exchange.ca_file)
        if not self.exchange.ca_file:  # SDKs do without Python 3.13's strictness (RFC 5280)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["http/1.1"])
        connection = partial(_Connection, exchange=self.exchange, tls=context)
        return self.do_open(connection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


@contextmanager
def exchanged(request: Request, exchange: Exchange) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    """Yield the head of the answer, whatever its status, and its body as it comes; or Failure."""
    if exchange.rehearsal is not None:
        exchange.rehearsal()
    # Without urllib's error and redirect handlers every status is an answer, and the key
    # never follows a redirect to another host.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Handler(exchange))
    if exchange.proxy:
        opener.add_handler(urllib.request.ProxyHandler({"https": exchange.proxy}))
    headers = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in request.headers.items()
    }
    prepared = urllib.request.Request(request.url, request.data, headers, method=request.method)
    try:
        raw = opener.open(prepared)
    except (OSError, http.client.HTTPException) as error:
        raise classify(error, exchange.phase) from error
    with raw:
        exchange.enter(Phase.READING)
        # A name that comes twice has both values.
        received = {name.lower(): ", ".join(raw.headers.get_all(name, [])) for name in raw.headers}
        yield Answer(raw.status, raw.reason, received), _chunks(raw, exchange)


def _chunks(raw: http.client.HTTPResponse, exchange: Exchange) -> Iterator[bytes]:
    expected, body = raw.length, exchange.body
    try:
        while chunk := raw.read1(CHUNK):
            if len(body) + len(chunk) > MAX_BODY:
                raise OverflowError  # noqa: TRY301 named like what the network raises
            body += chunk
            yield chunk
            if exchange.remaining < 0:
                raise TimeoutError
        # http.client reports a short body only to callers that ask for all of it at once.
        if expected is not None and len(body) < expected:
            raise http.client.IncompleteRead(b"", expected - len(body))
    except (OSError, http.client.HTTPException, OverflowError) as error:
        # The status of an error says the essential; a cut body must not hide it.
        if raw.status < 400:
            raise classify(error, exchange.phase) from error


# Most specific first: most are OSErrors too, RemoteDisconnected is a ConnectionError and an
# HTTPException. The last text takes the place of Python's.
_FAULTS: tuple[tuple[Any, str, str], ...] = (
    (TimeoutError, "no response", "timed out"),
    (ConnectionRefusedError, "connection refused", ""),
    (http.client.RemoteDisconnected, "connection lost", "closed without a response"),
    ((ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError), "connection lost", ""),
    (ssl.SSLError, "TLS failed", ""),
    (socket.gaierror, "unknown host", ""),
    (http.client.IncompleteRead, "response cut", "the body is shorter than promised"),
    (http.client.HTTPException, "not HTTP", ""),
    (OSError, "unreachable", ""),
    (OverflowError, "reply too large", ""),
)
_BY_PHASE = {
    ("no response", Phase.SETTINGS): "out of time",
    ("no response", Phase.DNS): "name server silent",
    ("no response", Phase.TCP): "connect timeout",
    ("no response", Phase.PROXY): "proxy timeout",
    ("no response", Phase.TLS): "TLS timeout",
    ("no response", Phase.READING): "response unfinished",
    ("connection lost", Phase.TLS): "TLS closed",
    ("connection lost", Phase.READING): "response cut",
    ("not HTTP", Phase.PROXY): "proxy not HTTP",
}


def classify(error: BaseException, phase: Phase) -> Failure:
    """Name what urllib raised, from what it is, what it says and when it came."""
    if isinstance(error, URLError):
        error = error.args[0]
    fault, words = next(row[1:] for row in _FAULTS if isinstance(error, row[0]))
    message = words or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLError):
        message = (error.reason or message).replace("_", " ").lower()
        if re.search("wrong version|http request|packet length|record layer", message):
            fault = "TLS not spoken"
    elif isinstance(error, socket.gaierror) and error.errno in (socket.EAI_AGAIN, 11002):
        fault = "name server silent"  # 11002 is Windows' WSATRY_AGAIN
    fault = _BY_PHASE.get((fault, phase), fault)
    return Failure(fault, " ".join(message.split()), openssl=ssl.OPENSSL_VERSION)
