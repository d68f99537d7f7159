"""The network: one request, one answer, and a name for every way it can fail."""

from __future__ import annotations

import contextlib
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
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from claude_ping.records import Answer, Exchange, Failure, Phase, Request, Secret

MAX_BODY = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes
ADDRESS_TIMEOUT = 5.0  # seconds; what official SDKs give an address, too


def _connected(sock: socket.socket, sockaddr: Any, timeout: float) -> socket.socket:
    try:
        sock.settimeout(max(timeout, 0.001))  # zero would mean non-blocking
        sock.connect(sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


class _Response(http.client.HTTPResponse):
    """Passes over every interim answer, and reads what a proxy says when it refuses."""

    def __init__(self, sock: socket.socket, *args: Any, exchange: Exchange, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.exchange = exchange

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if self.exchange.phase is Phase.PROXY and status != 200:
                offers = http.client.parse_headers(self.fp).get_all("proxy-authenticate", [])
                has_login = "@" in (self.exchange.proxy or "")
                raise _refusal(status, reason, ", ".join(offers), has_login=has_login)
            if not 102 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _refusal(status: int, reason: str, offers: str, *, has_login: bool) -> Failure:
    """Name a proxy's refusal of CONNECT by its status."""
    fault = "proxy down" if status >= 500 else "proxy refused"
    schemes = re.findall(r"(?:^|,) *([A-Za-z][\w-]*)(?= |,|$)", offers)
    names = {scheme.lower() for scheme in schemes}
    takes_no_password = names and names <= {"negotiate", "ntlm", "kerberos"}
    is_login_missing = not has_login and (not names or "basic" in names)
    # Before 3.12 http.client asks in HTTP/1.0; but a 403 is the proxy's policy.
    is_too_old = sys.version_info < (3, 12) and status != 403
    return Failure(
        "proxy password" if status == 407 else fault,
        f"{status} {reason.strip()}".strip(),
        proxy_offers=", ".join(schemes) or None,
        proxy_negotiates="" if takes_no_password else None,
        proxy_login="" if has_login and not takes_no_password else None,
        proxy_basic="" if is_login_missing else None,
        http10="" if is_too_old else None,
        python=sys.version.split()[0],
    )


class _Connection(http.client.HTTPConnection):
    """Tells its exchange how far it got."""

    next_phase = Phase.WAITING  # when TCP stands, or the proxy's tunnel
    _tunnel_host: str | None

    def __init__(self, host: str, *, exchange: Exchange, **options: Any) -> None:
        super().__init__(host, **options)
        self.exchange = exchange
        self.response_class = partial(_Response, exchange=exchange)  # type: ignore[assignment]
        # The one seam through which the look-up and each address tried can be seen.
        self._create_connection = self._dial

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address that answers; none but the last may use up the time."""
        exchange = self.exchange
        exchange.enter(Phase.DNS)
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        exchange.enter(Phase.TCP)
        failure = OSError("the name has no address")
        for number, (*kind, _name, sockaddr) in enumerate(found, 1):
            exchange.address = str(sockaddr[0])
            longest = math.inf if number == len(found) else ADDRESS_TIMEOUT
            try:
                sock = _connected(socket.socket(*kind), sockaddr, min(exchange.remaining, longest))
            except OSError as error:
                failure = error
                if isinstance(error, TimeoutError):
                    exchange.silent.append(exchange.address)
            else:
                sock.settimeout(max(exchange.remaining, 0.001))
                exchange.enter(Phase.PROXY if self._tunnel_host else self.next_phase)
                return sock
        raise failure

    def connect(self) -> None:
        super().connect()
        self.exchange.enter(Phase.WAITING)
        self.exchange.sent = True  # or about to be: what is in doubt counts as sent

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]
        self.exchange.enter(self.next_phase)

    def request(self, *args: Any, **options: Any) -> None:
        try:
            super().request(*args, **options)
        except (ConnectionError, ssl.SSLEOFError):
            # Why it closed before it had read everything, "too large" or "no client
            # certificate", may be there to be read.
            if self.exchange.phase is not Phase.WAITING:
                raise


class _TLSConnection(_Connection, http.client.HTTPSConnection):
    next_phase = Phase.TLS


class _TLSSocket(ssl.SSLSocket):
    """Looks at the certificate that a failed handshake was presented, which ssl itself forgets."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 ssl's signature
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            presented: dict[str, Any] = {}
            # A private interface, and not in every Python.
            with contextlib.suppress(AttributeError, LookupError, TypeError):
                presented = self._sslobj.get_unverified_chain()[0].get_info()  # type: ignore[attr-defined]
            self.close()
            raise _distrust(error, presented, self.context) from error


_CERTIFICATE_FAULTS = {
    9: "TLS not yet valid",
    10: "TLS expired",
    62: "TLS wrong host",
    64: "TLS wrong host",
}
_ROOT_MISSING = (2, 19, 20, 21)  # OpenSSL's codes where the issuer is what is not trusted


def _distrust(
    error: ssl.SSLCertVerificationError, presented: dict[str, Any], context: ssl.SSLContext
) -> Failure:
    """Say what is wrong with the certificate presented; empty if it could not be read."""
    from claude_ping.render import in_words  # noqa: PLC0415 only when something failed

    code = error.verify_code
    facts: dict[str, Any] = {"untrusted": error.verify_message, "issuer_unknown": ""}
    if presented and code in _ROOT_MISSING:
        issuer = dict(pair for name in presented["issuer"] for pair in name)
        name = issuer.get("commonName") or issuer.get("organizationName") or "nobody named"
        facts = {"untrusted": f'issued by "{name}"'}
    elif presented and code == 10:
        past = time.time() - ssl.cert_time_to_seconds(presented["notAfter"])
        age = "1 day" if 1 <= past / 86_400 < 2 else in_words(past)
        facts["expired"] = f"{age} ago" if past > 0 else None
    elif presented and code == 9:
        begin = ssl.cert_time_to_seconds(presented["notBefore"])
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(begin))
        facts["not_before"] = moment if begin > time.time() else None
    folder = ssl.get_default_verify_paths().capath  # whose files are read as they are needed
    if not context.cert_store_stats()["x509_ca"] and not (folder and os.listdir(folder)):
        facts["empty_store"] = ""
    if sys.platform == "darwin" and code in (19, 20):
        facts["macos"] = ""
    return Failure(_CERTIFICATE_FAULTS.get(code, "TLS not trusted"), error.verify_message, **facts)


class _Handler(urllib.request.AbstractHTTPHandler):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self.exchange = exchange

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request, exchange=self.exchange)  # type: ignore[arg-type]

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        options: dict[str, Any] = {"context": _tls_context(self.exchange.ca_file)}
        return self.do_open(_TLSConnection, request, exchange=self.exchange, **options)  # type: ignore[arg-type]

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return what official SDKs trust: SSL_CERT_FILE alone where it is set, else the system's CAs.

    They do not insist on RFC 5280 to the letter for those, as Python does since 3.13.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if not ca_file:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _TLSSocket
    return context


@contextmanager
def exchanged(request: Request, exchange: Exchange) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    """Send the request; yield the answer's head, whatever its status, and its body as it comes.

    Failure is raised if none comes. The body is put into the exchange, too.
    """
    if exchange.rehearsal is not None:
        exchange.rehearsal()
    # Without urllib's error and redirect handlers every status is an answer, and the key
    # never follows a redirect to another host.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Handler(exchange))
    if exchange.proxy:
        scheme = urlsplit(request.url).scheme
        opener.add_handler(urllib.request.ProxyHandler({scheme: exchange.proxy}))
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


_TIMEOUTS = {
    Phase.SETTINGS: "out of time",
    Phase.DNS: "name server silent",
    Phase.TCP: "connect timeout",
    Phase.PROXY: "proxy timeout",
    Phase.TLS: "TLS timeout",
    Phase.READING: "response unfinished",
}
# Most specific first: TLS, look-up and connection errors are OSErrors too, RemoteDisconnected is
# a ConnectionError and an HTTPException. The last text takes the place of Python's.
_FAULTS: tuple[tuple[Any, str, str], ...] = (
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
    ("connection lost", Phase.TLS): "TLS closed",
    ("connection lost", Phase.READING): "response cut",
    ("not HTTP", Phase.PROXY): "proxy not HTTP",
}
# What OpenSSL's reasons hold.
_TLS_REASONS = {
    "TLS not spoken": "wrong version|http request|packet length|record layer|unknown protocol",
    "TLS client certificate": "certificate required|alert bad certificate",
}
_TRY_AGAIN = (socket.EAI_AGAIN, 11002)  # the second is Windows' WSATRY_AGAIN


def classify(error: BaseException, phase: Phase) -> Failure:
    """Name what urllib raised, from what it is, what it says and when it came."""
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return Failure(_TIMEOUTS.get(phase, "no response"), "timed out")
    fault, words = next(row[1:] for row in _FAULTS if isinstance(error, row[0]))
    message = words or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLError):
        message = (error.reason or message).replace("_", " ").lower()
        found = (name for name, says in _TLS_REASONS.items() if re.search(says, message))
        fault = next(found, fault)
    elif isinstance(error, socket.gaierror) and error.errno in _TRY_AGAIN:
        fault = "name server silent"
    fault = _BY_PHASE.get((fault, phase), fault)
    return Failure(fault, " ".join(message.split()), openssl=ssl.OPENSSL_VERSION)
