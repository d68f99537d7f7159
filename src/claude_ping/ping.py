"""One run on the wire: attempts and waits under one deadline; messages and models."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from claude_ping import api, stream, transport
from claude_ping.records import Answer, Exchange, Failure, Phase, Report, Request
from claude_ping.screen import mask
from claude_ping.stream import Accumulator

FIRST_WAIT = 0.5  # seconds
LONGEST_WAIT = 8.0  # seconds, of our own choosing; a server may ask for more
HINT_TIMEOUT = 5.0  # seconds
SLOW = 5.0  # seconds, after which the Python SDK gives up, for TCP and for TLS each


class Caller(NamedTuple):
    """How the requests of one run are sent, and who is told of it."""

    report: Report
    post: Callable[[str | tuple[int, str]], None]  # takes notices, and new text of which block
    retries: int

    def ask(self, request: Request, *, is_default_model: bool) -> Answer:
        """Return the reply or the list; where the model is not there, say which ones are."""
        report = self.report
        try:
            return self._ask(request)
        except Failure as failure:
            from claude_ping import diagnosis  # noqa: PLC0415 only when something failed

            hints = diagnosis.row_for(failure, report).hints
            if request.method == "GET" or not any("{closest}" in hint for hint in hints):
                raise
            report.failure = failure
            models = self._list_quietly(request)
            line = api.DEFAULT_MODEL.split("-")[1:2]
            newest = next((name for name in models if name.split("-")[1:2] == line), None)
            if not is_default_model or newest in (None, request.model):
                failure.facts["models"] = models
                raise
        body = {**(request.body or {}), "model": newest}
        instead = request._replace(body=body, data=json.dumps(body).encode())
        report.request = api.shown(instead)
        answer = self._ask(instead)
        report.failure = None
        report.warnings.append(f"{request.model}, the default, is gone; asked {newest} instead")
        return answer

    def _ask(self, request: Request) -> Answer:
        """Send the request until its answer is not worth another try, or time is short."""
        while True:
            try:
                return self._attempt(request, self.report.exchange)
            except Failure as failure:
                self._wait(failure, self.report.exchange)

    def _list_quietly(self, request: Request) -> list[str]:
        """List the models' ids for a hint: one attempt, and no word of its own failure."""
        own = self.report.exchange
        exchange = Exchange(min(own.deadline, time.monotonic() + HINT_TIMEOUT))
        exchange.proxy, exchange.ca_file = own.proxy, own.ca_file
        try:
            models = self._attempt(api.models_request_like(request), exchange).json["data"]
        except Failure:
            return []
        return [model["id"] for model in models if isinstance(model.get("id"), str)]

    def _attempt(self, request: Request, exchange: Exchange) -> Answer:
        exchange.begin(exchange.attempts + 1)
        is_stream = bool((request.body or {}).get("stream"))
        head: Answer | None = None
        try:
            with transport.exchanged(request, exchange) as (raw, chunks):
                headers = api.masked(raw.headers)
                head = raw._replace(reason=mask(raw.reason), headers=headers)
                exchange.answer = head
                if is_stream and head.status == 200:
                    self._read_stream(head, chunks, exchange)
                else:
                    for _ in chunks:
                        pass
            answer = _so_far(head, exchange)
            is_whole = not is_stream or exchange.message() is not None
            return api.read_answer(answer, request.method, is_whole=is_whole)
        except Failure as failure:
            failure.answer = head and _so_far(head, exchange)
            _masked(failure)
            raise
        finally:
            exchange.finished = time.monotonic()

    def _read_stream(self, head: Answer, chunks: Iterator[bytes], exchange: Exchange) -> None:
        """Read a stream; Failure where it ends with an error, or without an end.

        A connection may stay open after the last event: only a body that has told its length
        is read to the end. What follows a complete message is not looked at.
        """
        message, named = Accumulator(api.parse_json), set[bool]()
        exchange.message = message.result
        for batch in stream.events(chunks):
            for is_named, data in batch:
                text = data.decode("utf-8", "replace")
                event = api.parse_json(text)
                if isinstance(event, dict):
                    named.add(is_named)
                    message.add(event)
                elif not message.is_complete:
                    raise Failure("event not JSON", api.one_line(text))
            for block_and_text in message.new_texts.items():
                exchange.first_text = exchange.first_text or sum(exchange.durations().values())
                self.post(block_and_text)
            message.new_texts = {}
            if (message.is_complete or message.error) and "content-length" not in head.headers:
                break
        if message.error:
            raise api.read_error(head._replace(json=message.error))
        if exchange.message() is not None and not message.is_complete:
            raise Failure("response cut", "the stream lacks stop_reason or message_stop")
        if False in named:
            self.report.warnings.append(
                "events of the stream have no names (event: lines): official SDKs skip those"
            )

    def _wait(self, failure: Failure, exchange: Exchange) -> None:
        """Wait for the next attempt, or raise the failure where there should be none."""
        attempt = exchange.attempts
        if attempt > self.retries or not may_pass(failure, self.report):
            raise failure
        wait = asked_wait(failure.answer.headers if failure.answer else {}) or backoff(attempt)
        if wait >= exchange.remaining:
            exchange.refused_wait = wait
            raise failure
        status = failure.answer and failure.answer.status
        reason = f"{status} {failure.kind or ''}".strip() if status else str(failure.fault)
        exchange.retries.append((reason, wait))
        at = f"attempt {attempt + 1} of {self.retries + 1}"
        self.post(f"{reason}; retrying in {wait:.1f} s ({at})")
        exchange.enter(Phase.PAUSE)
        time.sleep(wait)


def _masked(failure: Failure) -> Failure:
    quoted = [failure.message, failure.kind, failure.code, failure.facts]
    failure.message, failure.kind, failure.code, failure.facts = api.masked(quoted)
    return failure


def _so_far(head: Answer, exchange: Exchange) -> Answer:
    """Return what has come of an answer: of a stream the message, of anything else the body."""
    message, body = exchange.message(), bytes(exchange.body)
    if message is None:
        return api.readable_answer(head, body)
    return head._replace(body=body, json=api.masked(message))


def timed_out(report: Report) -> Failure:
    """Return the failure of a run whose time is up, with what had come by then."""
    exchange = report.exchange
    head = exchange.answer
    if report.failure is not None:
        return report.failure
    if head is None:
        return transport.classify(TimeoutError(), exchange.phase)
    answer = _so_far(head, exchange)
    if head.status < 400:
        return Failure("response unfinished", "timed out", answer=answer)
    return _masked(api.read_error(answer))  # the status of an error says the essential


def journey_warnings(exchange: Exchange) -> Iterator[str]:
    """Yield what the way there was like, where official SDKs would have fared otherwise."""
    durations = exchange.durations()
    if Phase.WAITING not in durations:
        return
    for address in exchange.silent:
        waited = f"{transport.ADDRESS_TIMEOUT:g} s"
        yield f"{address} did not answer within {waited}; {exchange.address} did"
    for phase in (Phase.TCP, Phase.TLS):
        seconds = durations.get(phase, 0.0)
        if seconds > SLOW and not exchange.silent:
            yield f"{phase.name} took {seconds:.1f} s: the Python SDK gives up after {SLOW:g} s"


def may_pass(failure: Failure, report: Report) -> bool:
    """Whether the same request may fare better in a moment."""
    from claude_ping import diagnosis  # noqa: PLC0415 only when something failed

    if failure.fault in ("connection refused", "connection lost"):
        return True
    answer = failure.answer
    if failure.fault is not None or answer is None or answer.status < 400:
        return False
    if diagnosis.subject(failure, report) in ("money", "model", "key"):
        return False
    is_usual = answer.status in (408, 409, 429) or answer.status >= 500
    return {"true": True, "false": False}.get(answer.headers.get("x-should-retry", ""), is_usual)


def backoff(attempt: int) -> float:
    """Return the seconds to wait after the attempt, counted from 1, as the official SDKs do."""
    longest = min(FIRST_WAIT * 2.0 ** min(attempt - 1, 10), LONGEST_WAIT)
    return longest * (1 - 0.25 * random.random())  # noqa: S311 jitter needs no secrecy


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the answer asks to wait; None where it does not say so usably."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        seconds, text = 0.0, headers.get(name, "")
        with suppress(ValueError, OverflowError):
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        with suppress(ValueError):
            seconds = float(text) / unit
        if 0 < seconds < math.inf:
            return seconds
    return None
