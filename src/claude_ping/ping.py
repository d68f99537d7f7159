"""One run on the wire: attempts, waits and the one clock."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from queue import Empty, Queue
from typing import NamedTuple, TypeVar

from claude_ping import api, diagnosis, transport
from claude_ping.records import (
    Answer,
    Failure,
    Fault,
    Outcome,
    Phase,
    PingError,
    Request,
    Response,
    Retry,
    Text,
)
from claude_ping.transport import Trace

FIRST_WAIT = 0.5  # seconds
LONGEST_WAIT = 8.0  # seconds, of our own choosing; a server may ask for more
TICK = 0.5  # seconds
QUEUE = 64  # events; when the reader of our output is slow, so is our reading

# A request is the one that took the place of the first; a failure is the outcome so far.
Event = Retry | Text | Request | Failure
T = TypeVar("T")


class Caller(NamedTuple):
    """How the requests of one run are sent."""

    trace: Trace
    retries: int
    post: Callable[[Event], None]
    sleep: Callable[[float], None] = time.sleep


class _Done(NamedTuple):
    outcome: Outcome


class _Crashed(NamedTuple):
    error: BaseException


def supervise(
    work: Callable[[Callable[[Event], None]], Outcome],
    trace: Trace,
    on_event: Callable[[Retry | Text | Request], None],
    on_tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Return the outcome by the trace's deadline, calling `on_tick` about twice a second.

    The work is done in a thread of its own: neither the deadline nor Ctrl-C could
    otherwise end a name look-up, which no signal interrupts.
    """
    events: Queue[Event | _Done | _Crashed] = Queue(QUEUE)

    def run() -> None:
        try:
            events.put(_Done(work(events.put)))
        except BaseException as error:  # noqa: BLE001 raised again where it can be reported
            events.put(_Crashed(error))

    threading.Thread(target=run, daemon=True).start()
    so_far: Failure | None = None
    while True:
        try:
            event = events.get(timeout=max(min(trace.remaining, TICK), 0))
        except Empty:
            if trace.remaining <= 0:
                return so_far or _timed_out(trace)
            on_tick()
            continue
        if isinstance(event, _Crashed):
            raise event.error
        if isinstance(event, _Done):
            return event.outcome
        if isinstance(event, Failure):
            so_far = event
        else:
            on_event(event)


def _timed_out(trace: Trace) -> Failure:
    begun = trace.response
    if begun is None:
        return Failure(Fault.TIMEOUT)
    answer = Answer(begun.status, begun.reason, begun.headers, b"", trace.partial())
    if begun.status < 400:
        return Failure(Fault.TIMEOUT, answer=answer)
    # The status of an error says the essential.
    return api.read_error(answer)._replace(message="the rest did not come in time")


def converse(request: Request, read: Callable[[Response], T], caller: Caller) -> T | Failure:
    """Send the request until its answer is not worth another try; never wait past the deadline."""
    data, trace = api.encode(request), caller.trace
    attempt = 0
    while True:
        attempt += 1
        trace.begin_attempt()
        try:
            with transport.exchange(request, data, trace) as response:
                return read(response)
        except PingError as error:
            failure = error.failure
        if attempt > caller.retries or not diagnosis.is_worth_retrying(failure):
            return failure
        wait = asked_wait(failure.answer.headers if failure.answer else {})
        if wait is None:
            wait = backoff(attempt)
        if wait >= trace.remaining:
            trace.unfit_wait = wait
            return failure
        caller.post(Retry(failure, wait, attempt + 1, caller.retries + 1))
        trace.phase = Phase.SLEEPING
        caller.sleep(wait)


def backoff(attempt: int) -> float:
    """Return the seconds to wait after the attempt, counted from 1, as the official SDKs do."""
    longest = min(FIRST_WAIT * 2.0 ** min(attempt - 1, 10), LONGEST_WAIT)
    return longest * (1 - 0.25 * random.random())  # noqa: S311 jitter needs no secrecy


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the answer asks to wait; None where it does not say so usably."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d+(\.\d*)?", text, re.ASCII):
            seconds = float(text) / unit
            if 0 < seconds < math.inf:
                return seconds
        elif name == "retry-after" and text:
            return _seconds_until(text)
    return None


def _seconds_until(http_date: str) -> float | None:
    try:
        seconds = parsedate_to_datetime(http_date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None
