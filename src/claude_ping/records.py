"""The nouns; no dataclasses, because importing those costs a tenth of a whole run.

Nor `annotations` from `__future__`: typing.NamedTuple would compile each of those texts.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, NamedTuple

DEFAULT_BASE_URL = "https://api.anthropic.com"


def members(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


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
    CONNECTION = 11
    INTERRUPTED = 130

    @property
    def is_retryable(self) -> bool:
        return self in (ExitCode.SERVER, ExitCode.NETWORK, ExitCode.RATE)


class Phase(Enum):
    """What a run is busy with, worded to follow "interrupted while"."""

    SETTINGS = "reading the settings"
    DNS = "resolving the host name"
    TCP = "connecting"
    PROXY = "waiting for the proxy"
    TLS = "waiting for the TLS handshake"
    WAITING = "waiting for the response"
    READING = "reading the response"
    PAUSE = "waiting to retry"


class Secret:
    """A value that prints as a mask; `reveal` is the only way to it."""

    def __init__(self, value: str, *, shows_end: bool = True) -> None:
        self._value, self._shows_end = value, shows_end

    def reveal(self) -> str:
        """Return the value itself, for the wire and for the mask that hides it."""
        return self._value

    @property
    def last4(self) -> str | None:
        return self._value[-4:] if self._shows_end and len(self._value) >= 12 else None

    def __str__(self) -> str:
        scheme = "Bearer " if self._value.startswith("Bearer ") else ""
        return f"{scheme}…{self.last4 or ''}"

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self._value)


class Found(NamedTuple):
    """A variable's value and where it was set."""

    name: str
    value: str
    place: str  # "the environment", ".env line 3"
    file: str | None = None  # what the file that holds it is called
    is_foreign: bool = False  # whether the file took its value from elsewhere

    @property
    def where(self) -> str:
        return f"{self.name} ({self.place.removeprefix('the ')})"

    @property
    def secret(self) -> Secret:
        return Secret(self.value, shows_end=not self.is_foreign)


class Layer(NamedTuple):
    """One place that settings are looked for in."""

    label: str
    found: Mapping[str, Found]
    text: str | None = None  # None where it is no file
    ignored: Sequence[str] = ()  # what to say of lines that are not NAME=value


class Credential(NamedTuple):
    """The key or token that a request carries, and where it was found."""

    kind: str  # "api_key" or "auth_token"
    secret: Secret
    name: str  # the variable or header it was read from
    source: str  # "the environment", ".env line 3"

    @property
    def noun(self) -> str:
        return "token" if self.kind == "auth_token" else "key"


class Settings(NamedTuple):
    """Everything decided before the request is built."""

    credential: Credential
    base_url: str
    headers: Mapping[str, str | Secret]  # to send over the tool's own; Secret where not to be shown
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = {}  # for the table of failures


class Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str | Secret]  # lower-case names
    body: Mapping[str, Any] | None = None
    data: bytes | None = None  # what is sent of the body

    @property
    def model(self) -> str | None:
        model = (self.body or {}).get("model")
        return model if isinstance(model, str) else None


class Answer(NamedTuple):
    """Any HTTP answer, good or bad, masked but for its body."""

    status: int
    reason: str
    headers: Mapping[str, str]  # lower-case names
    body: bytes = b""
    json: Any = None  # None where the body is not JSON

    @property
    def request_id(self) -> str | None:
        """The id that support asks for: the header's, else the error body's."""
        body_id = members(self.json).get("request_id")
        return self.headers.get("request-id") or (body_id if isinstance(body_id, str) else None)


class Failure(Exception):  # noqa: N818 the field's word for it
    """Why there is no reply; the row of the table that `fault` names, or that fits the answer."""

    def __init__(  # noqa: PLR0913 all that can be known of one
        self,
        fault: str | None,
        message: str = "",  # as the API, the resolver or the TLS library worded it
        *,
        answer: Answer | None = None,
        kind: str | None = None,  # error.type
        code: str | None = None,  # error.details.error_code
        known: tuple[str, ...] = (),  # only what no row of the table can word
        hints: tuple[str, ...] = (),
        **facts: Any,  # for the table
    ) -> None:
        self.fault, self.message, self.answer = fault, message, answer
        self.kind, self.code = kind, code
        self.known, self.hints, self.facts = known, hints, facts


def told(lines: Iterable[str], facts: Mapping[str, Any]) -> Iterator[str]:
    """Fill the {facts} into lines; leave out those that lack one, or any [one] at their head."""
    for line in lines:
        heads, text = re.fullmatch(r"((?:\[\w+\] )*)(.*)", line).groups()  # type: ignore[union-attr]
        names = re.findall(r"\w+", heads) + re.findall(r"\{(\w+)\}", text)
        if all(facts.get(name) not in (None, False) for name in names):
            yield re.sub(r"\{(\w+)\}", lambda match: str(facts[match[1]]), text)


class Exchange:
    """How far the attempts have got; read by the main thread when time is up."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline  # on time.monotonic's clock
        self.sent = False  # whether any attempt may have sent the credential
        self.proxy: str | None = None  # its URL, user and password included
        self.via: str | None = None  # the proxy's host:port
        self.ca_file: str | None = None  # SSL_CERT_FILE, which alone is trusted then
        self.refused_wait: float | None = None  # seconds asked for that the deadline forbids
        self.retries: list[tuple[str, float]] = []  # why, and after how many seconds
        self.earlier: list[dict[Phase, float]] = []  # how long the phases of past attempts took
        self.rehearsal: Callable[[], None] | None = None  # fails as a simulated connection does
        self.begin(0)

    def begin(self, attempt: int) -> None:
        """Forget the attempt before, but for its timeline."""
        if attempt > 1:
            self.earlier.append(self.durations())
        self.attempts = attempt
        self.address: str | None = None  # the one dialled
        self.silent: list[str] = []  # those dialled before it that did not answer in time
        self.phase = Phase.SETTINGS
        self.moments: list[tuple[Phase, float]] = []  # when each phase began
        self.finished: float | None = None
        self.first_text: float | None = None  # seconds
        self.answer: Answer | None = None  # status and headers, while the body arrives
        self.body = bytearray()
        self.message: Callable[[], Any] = lambda: None  # what a stream adds up to so far

    def enter(self, phase: Phase) -> None:
        self.phase, self.finished = phase, None
        self.moments.append((phase, time.monotonic()))

    @property
    def remaining(self) -> float:
        return self.deadline - time.monotonic()  # seconds

    def durations(self) -> dict[Phase, float]:
        """Return the seconds that each phase of the attempt took; the last may go on."""
        moments = list(self.moments)  # another thread may be adding to them
        ends = [moment for _, moment in moments[1:]] + [self.finished or time.monotonic()]
        return {phase: end - begun for (phase, begun), end in zip(moments, ends, strict=False)}


class Report:
    """A whole run, filled as things become known."""

    def __init__(self, timeout: float, *, simulated: str | None = None) -> None:
        self.started = time.monotonic()
        self.timeout = timeout  # seconds
        self.simulated = simulated
        self.settings: Settings | None = None
        self.request: Request | None = None
        self.exchange = Exchange(self.started + timeout)
        self.answer: Answer | None = None  # the last one that came, whatever it said
        self.failure: Failure | None = None  # what is certain, while more is looked up
        self.warnings: list[str] = []
        self.total = 0.0  # seconds
        self.exit_code = ExitCode.INTERNAL
        self.fault: str | None = None  # the row of the table of failures
        self.speaker: str | None = None  # who answered: "api", "edge", "gateway", "way"
        self.key_accepted: bool | None = None
        self.headline = "a bug in claude-ping"
        self.explanation: tuple[str, ...] = ()
        self.hints: tuple[str, ...] = ()
