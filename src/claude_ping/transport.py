"""The network: one request, one answer, and a name for every way it can fail."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

from claude_ping.checks import is_loopback, refuse
from claude_ping.records import (
    Failure,
    Fault,
    Journey,
    Phase,
    PingError,
    Request,
    Response,
    Secret,
    Timing,
)

MAX_BODY = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes


class Route(NamedTuple):
    """How the host is reached."""

    url: str
    proxy: str | None = None  # as urllib wants it, user and password included
    via: str | None = None  # the proxy's host:port


def proxy_secrets() -> Iterator[Secret]:
    """Yield what must not be shown of the proxies configured, in each form it may be echoed."""
    for proxy in urllib.request.getproxies().values():
        userinfo = proxy.rpartition("@")[0].rpartition("//")[2]
        for form in {userinfo, unquote(userinfo)}:
            yield Secret(form, shows_end=False)
            yield Secret(form.partition(":")[2], shows_end=False)


def find_route(url: str) -> Route:
    """Decide on the proxy as urllib would, but never for loopback; refuse an unusable one."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if is_loopback(parts.hostname) or not proxy or urllib.request.proxy_bypass(parts.netloc):
        return Route(url)
    scheme, separator, rest = proxy.rpartition("://")
    address = rest.rpartition("@")[2].rstrip("/")
    variable = f"{parts.scheme.upper()}_PROXY"
    if separator and scheme.lower() != "http":
        refuse(
            f"the proxy {scheme}://{address} ({variable}) is of a kind that urllib cannot use",
            f"urllib speaks plain HTTP to proxies: {variable}=http://host:port",
            f"Or go without one: NO_PROXY={parts.hostname}",
        )
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^][:/?#@\s]+)(?::(\d{1,5}))?", address)
    if not match or not 1 <= int(match[2] or 1) <= 65535:
        refuse(
            f"the proxy of {variable} has a bad host or port (not shown: it may hold a password)",
            "Write it as http://host:port; # / and @ in a password as %23 %2F and %40",
        )
    # http.client takes the port of the scheme asked for where the proxy names none.
    return Route(url, proxy, address if match[2] else f"{address}:443")


class Trace:
    """How far the attempt under way has got; read from another thread when time is up."""

    def __init__(self, route: Route, deadline: float) -> None:
        self.route = route
        self.deadline = deadline  # on time.monotonic's clock
        self.attempts = 0
        self.unfit_wait: float | None = None  # seconds asked for that the deadline forbids
        self.sent = False  # whether any attempt may have sent the credential
        self._reset()

    def _reset(self) -> None:
        self.phase = Phase.LOOKING_UP
        self.addresses: list[str] = []
        self.tried = 0
        self.started = time.monotonic()
        self.dialled: float | None = None
        self.connected: float | None = None
        self.answered: float | None = None
        self.finished: float | None = None
        self.response: Response | None = None
        self.partial: Callable[[], Any] = lambda: None  # the message so far, of a stream
        self.first_text: float | None = None

    def begin_attempt(self) -> None:
        """Forget the attempt before."""
        self._reset()
        self.attempts += 1

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address that answers, as socket.create_connection does."""
        try:
            found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label that is empty or longer than 63 characters
            raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from error
        self.phase = Phase.CONNECTING
        self.addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        failure = OSError("the name has no address")
        for family, kind, protocol, _name, sockaddr in found:
            self.tried += 1
            try:
                return self._connect(socket.socket(family, kind, protocol), sockaddr)
            except OSError as error:
                failure = error
        raise failure

    def _connect(self, sock: socket.socket, sockaddr: Any) -> socket.socket:
        try:
            # Zero would mean non-blocking.
            sock.settimeout(max(self.remaining, 0.001))
            sock.connect(sockaddr)
        except BaseException:
            sock.close()
            raise
        self.dialled = time.monotonic()
        self.phase = Phase.TLS if self.route.url.startswith("https:") else Phase.WAITING
        return sock

    def journey(self) -> Journey:
        """Return what is known so far of the way there."""
        return Journey(
            self.phase,
            self.sent,
            tuple(self.addresses[: self.tried]),
            tuple(self.addresses[self.tried :]),
            self.route.via,
            "@" in (self.route.proxy or ""),
            self.attempts,
            self.unfit_wait,
        )

    def timing(self, total: float) -> Timing:
        """Return the seconds of each phase; `total` is the whole run's."""
        https = self.route.url.startswith("https:")
        return Timing(
            connect=_between(self.started, self.dialled),
            tls=_between(self.dialled, self.connected) if https else None,
            first_byte=_between(self.connected, self.answered),
            rest=_between(self.answered, self.finished),
            first_text=_between(self.started, self.first_text),
            total=total,
        )


def _between(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier


class _Response(http.client.HTTPResponse):
    """Passes over every interim answer; http.client itself knows only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Connection(http.client.HTTPConnection):
    """Tells its trace how far it got."""

    response_class = _Response

    def __init__(self, host: str, *, trace: Trace, **options: Any) -> None:
        super().__init__(host, **options)
        self.trace = trace
        # The one seam through which the look-up and each address tried can be seen.
        self._create_connection = trace.dial

    def connect(self) -> None:
        super().connect()
        self.trace.connected = time.monotonic()
        self.trace.phase = Phase.WAITING
        self.trace.sent = True  # or about to be: what is in doubt counts as sent

    def _tunnel(self) -> None:
        self.trace.phase = Phase.TUNNEL
        super()._tunnel()  # type: ignore[misc]
        self.trace.phase = Phase.TLS

    def request(self, *args: Any, **options: Any) -> None:
        try:
            super().request(*args, **options)
        except (ConnectionError, ssl.SSLEOFError):
            # Why it closed before it had read everything, "too large" or "no client
            # certificate", may be there to be read.
            if self.trace.connected is None:
                raise


class _TLSConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Handler(urllib.request.AbstractHTTPHandler):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request, trace=self.trace)  # type: ignore[arg-type]

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TLSConnection, request, trace=self.trace, context=_tls_context())  # type: ignore[arg-type]

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def _tls_context() -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
    except OSError as error:  # of SSLKEYLOGFILE, the one file it opens to write
        refuse(
            f"cannot set up TLS: {error}",
            "Unset SSLKEYLOGFILE, or let it name a file that can be written.",
        )
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def exchange(request: Request, data: bytes | None, trace: Trace) -> Iterator[Response]:
    """Send the request and yield the answer, whatever its status; PingError if none comes."""
    # Without urllib's error and redirect handlers every status is an answer, and the key
    # never follows a redirect to another host.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Handler(trace))
    if trace.route.proxy:
        scheme = urlsplit(request.url).scheme
        opener.add_handler(urllib.request.ProxyHandler({scheme: trace.route.proxy}))
    headers = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in request.headers.items()
    }
    prepared = urllib.request.Request(request.url, data, headers, method=request.method)
    with _named_faults(trace):
        raw = opener.open(prepared, timeout=max(trace.remaining, 0.001))
    with raw:
        trace.answered = time.monotonic()
        trace.phase = Phase.READING
        trace.response = Response(raw.status, raw.reason, _headers(raw), _chunks(raw, trace))
        yield trace.response
    trace.finished = time.monotonic()


def _headers(raw: http.client.HTTPResponse) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _chunks(raw: http.client.HTTPResponse, trace: Trace) -> Iterator[bytes]:
    expected, received = raw.length, 0
    with _named_faults(trace):
        while chunk := raw.read1(CHUNK):
            received += len(chunk)
            if received > MAX_BODY:
                raise PingError(Failure(Fault.TOO_LARGE))
            yield chunk
            if trace.remaining < 0:
                raise TimeoutError
        # http.client reports a short body only to callers that ask for all of it at once.
        if expected is not None and received < expected:
            raise http.client.IncompleteRead(b"", expected - received)


@contextmanager
def _named_faults(trace: Trace) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise PingError(classify(error, trace)) from error


_CERTIFICATE_FAULTS = {
    2: Fault.TLS_UNKNOWN_ISSUER,
    9: Fault.TLS_NOT_YET_VALID,
    10: Fault.TLS_EXPIRED,
    18: Fault.TLS_INTERCEPTED,
    19: Fault.TLS_INTERCEPTED,
    20: Fault.TLS_UNKNOWN_ISSUER,
    21: Fault.TLS_UNKNOWN_ISSUER,
    62: Fault.TLS_WRONG_HOST,
    64: Fault.TLS_WRONG_HOST,
}
_TLS_REASONS = (
    (
        r"WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH|RECORD_LAYER|UNKNOWN_PROTOCOL",
        Fault.TLS_NOT_TLS,
    ),
    (r"CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE", Fault.TLS_CLIENT_CERTIFICATE),
)
# Most specific first: TLS, look-up, time-out and connection errors are OSErrors too, and
# RemoteDisconnected is both a ConnectionResetError and an HTTPException.
_FAULTS: tuple[tuple[type[BaseException], Fault], ...] = (
    (ssl.SSLEOFError, Fault.LOST),
    (ssl.SSLZeroReturnError, Fault.LOST),
    (ssl.SSLError, Fault.TLS_OTHER),
    (socket.gaierror, Fault.NAME_NOT_FOUND),
    (TimeoutError, Fault.TIMEOUT),
    (ConnectionRefusedError, Fault.REFUSED),
    (ConnectionError, Fault.LOST),
    (http.client.IncompleteRead, Fault.CUT),
    (http.client.HTTPException, Fault.NOT_HTTP),
    (OSError, Fault.UNREACHABLE),
)
_TRY_AGAIN = (socket.EAI_AGAIN, 11002)  # the second is Windows' WSATRY_AGAIN


def classify(error: BaseException, trace: Trace) -> Failure:
    """Name what urllib raised, from what it is, what it says and when it came."""
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
    message = getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(error.verify_code, fault)
        message = error.verify_message
    elif isinstance(error, ssl.SSLError) and fault is Fault.TLS_OTHER:
        reason = error.reason or ""
        fault = next(
            (fault for pattern, fault in _TLS_REASONS if re.search(pattern, reason)), fault
        )
        message = reason.replace("_", " ").lower() or message
    elif isinstance(error, socket.gaierror) and error.errno in _TRY_AGAIN:
        fault = Fault.NAME_UNAVAILABLE
    elif str(error).startswith("Tunnel connection failed"):
        fault, message = Fault.PROXY, str(error).partition(": ")[2]
    elif isinstance(error, http.client.RemoteDisconnected):
        message = "closed without an answer"
    elif isinstance(error, http.client.IncompleteRead):
        message = "the body ended early"
    if fault is Fault.LOST and trace.phase is Phase.READING:
        fault = Fault.CUT
    return Failure(fault, " ".join(message.split()))


def tls_facts(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a TLS failure may come from on this machine's side, for the diagnosis."""
    missing = [
        f"{name} names {path}, which does not exist."
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")
        if (path := environ.get(name)) and not os.path.exists(path)
    ]
    paths = ssl.get_default_verify_paths()
    return {
        "ca": paths.cafile or paths.capath or "none found",
        "ca_file": missing[0] if missing else None,
        "openssl": ssl.OPENSSL_VERSION,
    }
