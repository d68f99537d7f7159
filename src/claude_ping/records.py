"""The nouns: immutable records, the exit codes and the one exception.

NamedTuples rather than dataclasses: importing `dataclasses` costs a tenth of a whole run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from typing import Any, NamedTuple

MASKABLE_LENGTH = 20


class ExitCode(IntEnum):
    """What a run ended with; the lower-case name is its class in the report."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    AUTH = 4
    SERVER = 5
    NETWORK = 6
    ACCOUNT = 7
    RATE = 8
    REQUEST = 9
    PROTOCOL = 10
    INTERRUPTED = 130


class Fault(Enum):
    """How a run failed: by an HTTP answer, by what the answer held, or on the way to it."""

    INTERNAL = "internal"
    INTERRUPTED = "interrupted"
    CONFIG = "config"

    HTTP = "http"
    NOT_A_MESSAGE = "not a message"
    NOT_HTTP = "not http"
    TOO_LARGE = "too large"

    NAME_NOT_FOUND = "name not found"
    NAME_UNAVAILABLE = "name look-up unavailable"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    LOST = "lost before the answer"
    CUT = "cut in the answer"
    PROXY = "proxy"
    TIMEOUT = "timeout"

    TLS_INTERCEPTED = "tls intercepted"
    TLS_UNKNOWN_ISSUER = "tls unknown issuer"
    TLS_EXPIRED = "tls expired"
    TLS_NOT_YET_VALID = "tls not yet valid"
    TLS_WRONG_HOST = "tls wrong host"
    TLS_CLIENT_CERTIFICATE = "tls client certificate"
    TLS_NOT_TLS = "tls to a plain port"
    TLS_OTHER = "tls"


class Phase(Enum):
    """What an attempt is busy with, worded to follow "while"."""

    LOOKING_UP = "looking up the name"
    CONNECTING = "connecting"
    TUNNEL = "asking the proxy for a tunnel"
    TLS = "agreeing on TLS"
    WAITING = "waiting for the answer"
    READING = "reading the answer"
    SLEEPING = "waiting to try again"


class Secret:
    """A value that prints as a mask; `reveal` is the only way to it."""

    __slots__ = ("_shows_end", "_value")

    def __init__(self, value: str, *, shows_end: bool = True) -> None:
        self._value = value
        self._shows_end = shows_end

    def reveal(self) -> str:
        """Return the value itself, for the wire and for the filter that hides it."""
        return self._value

    @property
    def last4(self) -> str | None:
        """The last four characters, where that leaves enough of the value unknown."""
        is_long = len(self._value) >= MASKABLE_LENGTH
        return self._value[-4:] if is_long and self._shows_end else None

    def __str__(self) -> str:
        return f"…{self.last4 or ''}"

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Credential(NamedTuple):
    """The key or token that a request carries, and where it was found."""

    kind: str  # "api_key" or "auth_token"
    secret: Secret
    name: str  # the variable or header it was read from
    source: str  # "the environment", ".env (line 3)"

    @property
    def noun(self) -> str:
        return "token" if self.kind == "auth_token" else "key"


class Settings(NamedTuple):
    """Everything decided before the request is built."""

    credential: Credential
    base_url: str
    base_url_source: str
    headers: Mapping[str, str | Secret]  # to send as they are, over the tool's own
    warnings: tuple[str, ...] = ()
    shadowed: str | None = None  # what to try when a different key was passed over
    suspicion: str | None = None  # what the credential's prefix says against it


class Request(NamedTuple):
    """One HTTP request, ready to be sent."""

    method: str
    url: str
    headers: Mapping[str, str | Secret]  # lower-case names
    body: Mapping[str, Any] | None = None
    data: bytes | None = None  # the body as it was given, to be sent to the letter


class Response(NamedTuple):
    """Any HTTP answer, good or bad, whose body is still arriving."""

    status: int
    reason: str
    headers: Mapping[str, str]  # lower-case names
    chunks: Iterator[bytes]


class Answer(NamedTuple):
    """Any HTTP answer, good or bad, whole."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    json: Any = None  # None where the body is not JSON

    @property
    def request_id(self) -> str | None:
        """The id that support asks for: the header's, else the error body's."""
        body_id = self.json.get("request_id") if isinstance(self.json, dict) else None
        return self.headers.get("request-id") or (body_id if isinstance(body_id, str) else None)


class Reply(NamedTuple):
    """A Messages reply: a JSON object of type `message`, its other fields unchecked."""

    message: Mapping[str, Any]
    answer: Answer
    notes: tuple[str, ...] = ()


class Models(NamedTuple):
    """The models that the credential may use, in the API's order; their fields unchecked."""

    models: tuple[Mapping[str, Any], ...]
    answer: Answer
    notes: tuple[str, ...] = ()


class Failure(NamedTuple):
    """Why there is no reply; None where something is not known."""

    fault: Fault
    message: str = ""  # as the API, the resolver or the TLS library worded it
    answer: Answer | None = None
    error_type: str | None = None
    error_code: str | None = None
    details: Mapping[str, Any] = {}
    known: tuple[str, ...] = ()  # only where no rule of the diagnosis could word it
    hints: tuple[str, ...] = ()

    @property
    def status(self) -> int | None:
        return self.answer.status if self.answer else None


Outcome = Reply | Models | Failure


class PingError(Exception):
    """Carries a failure from wherever it was noticed to the one place that reports it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Journey(NamedTuple):
    """How far the last attempt got."""

    phase: Phase = Phase.LOOKING_UP
    sent: bool = False  # whether the credential may have left this machine
    tried: tuple[str, ...] = ()  # addresses
    untried: tuple[str, ...] = ()
    via: str | None = None  # the proxy's host:port
    has_proxy_login: bool = False
    attempts: int = 0
    unfit_wait: float | None = None  # seconds asked for that the deadline forbids


class Retry(NamedTuple):
    """One wait between two attempts."""

    failure: Failure
    wait: float  # seconds
    attempt: int  # the one that follows
    attempts: int  # at the most


class Text(NamedTuple):
    """What a streamed reply has added to one of its text blocks."""

    block: int
    text: str


class Timing(NamedTuple):
    """Where the time of the last attempt went, in seconds; None where it did not get so far."""

    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    rest: float | None = None
    first_text: float | None = None  # from the beginning of the attempt
    total: float = 0.0  # of the whole run


class Diagnosis(NamedTuple):
    """Whose move it is, in words."""

    exit_code: ExitCode
    headline: str
    known: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    key_accepted: bool | None = None
    retryable: bool = False


class Report(NamedTuple):
    """A whole run, as the renderers need it."""

    outcome: Outcome | None  # None for a dry run
    diagnosis: Diagnosis
    request: Request | None = None
    settings: Settings | None = None
    journey: Journey = Journey()
    timing: Timing = Timing()
    retries: tuple[Retry, ...] = ()
    notes: tuple[str, ...] = ()
    ca: str | None = None  # where Python looks for CA certificates
    simulated: bool = False

    @property
    def answer(self) -> Answer | None:
        """The last answer that came, whatever it said."""
        return None if self.outcome is None else self.outcome.answer
