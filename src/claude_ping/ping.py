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

RETRIED = (408, 409, 429, *range(500, 600))


class Caller(NamedTuple):
    """How the requests of one run are sent, and who is told of it."""

    report: Report
    post: Callable[[str | tuple[int, str]], None]  # takes notices, and new text of which block
    retries: int

    def ask(self, request: Request, *, is_default_model: bool) -> Answer:
        """Return the reply or the list, after as many attempts as may help."""
        while True:
            try:
                return self._attempt(request, self.report.exchange)
            except Failure as failure:
                from claude_ping import diagnosis  # noqa: PLC0415 only when something failed

                hints = diagnosis.row_for(failure, self.report).hints
                if request.method == "POST" and any("{closest}" in hint for hint in hints):
                    request = self._instead(request, failure, is_default_model=is_default_model)
                    is_default_model = False
                elif diagnosis.subject(failure, self.report) in ("money", "model", "key"):
                    raise
                else:
                    self._wait(failure)

    def _instead(self, request: Request, failure: Failure, *, is_default_model: bool) -> Request:
        """Return the request to the newest of the default's line; else raise, with all models."""
        report = self.report
        report.failure = failure
        exchange = Exchange(min(report.exchange.deadline, time.monotonic() + 5))  # seconds
        exchange.proxy, exchange.ca_file = report.exchange.proxy, report.exchange.ca_file
        ids: list[str] = []
        with suppress(Failure):
            models = self._attempt(api.models_request_like(request), exchange).json["data"]
            ids = [model["id"] for model in models if isinstance(model.get("id"), str)]
        line = api.DEFAULT_MODEL.split("-")[1]
        newest = next((name for name in ids if line in name), request.model)
        if not is_default_model or newest == request.model:
            failure.facts["models"] = ids
            raise failure
        report.failure = None
        report.warnings.append(f"{request.model}, the default, is gone; asked {newest} instead")
        body = {**(request.body or {}), "model": newest}
        instead = request._replace(body=body, data=json.dumps(body).encode())
        report.request = api.shown(instead)
        return instead

    def _wait(self, failure: Failure) -> None:
        """Wait for the next attempt, or raise the failure where there should be none."""
        exchange, answer = self.report.exchange, failure.answer
        status, headers = (answer.status, answer.headers) if answer else (0, {})
        asked = headers.get("x-should-retry", "")
        retried = {"true": range(400, 600), "false": ()}.get(asked, RETRIED)
        may_pass = status in retried or failure.fault in ("connection refused", "connection lost")
        if not may_pass or exchange.attempts > self.retries:
            raise failure
        wait = seconds_to_wait(headers, exchange.attempts)
        if wait >= exchange.remaining:
            exchange.refused_wait = wait
            raise failure
        reason = f"{status} {failure.kind or ''}".strip() if status else str(failure.fault)
        exchange.retries.append((reason, wait))
        attempt = f"attempt {exchange.attempts + 1} of {self.retries + 1}"
        self.post(f"{reason}; retrying in {wait:.1f} s ({attempt})")
        exchange.enter(Phase.PAUSE)
        time.sleep(wait)

    def _attempt(self, request: Request, exchange: Exchange) -> Answer:
        exchange.begin(exchange.attempts + 1)
        is_stream = bool((request.body or {}).get("stream"))
        try:
            with transport.exchanged(request, exchange) as (raw, chunks):
                headers = api.masked(raw.headers)
                head = exchange.answer = raw._replace(reason=mask(raw.reason), headers=headers)
                if is_stream and head.status == 200:
                    self._read_stream(head, chunks, exchange)
                else:
                    for _ in chunks:
                        pass
            is_whole = not is_stream or exchange.message() is not None
            return api.read_answer(_so_far(head, exchange), request.method, is_whole=is_whole)
        except Failure as failure:
            _completed(failure, exchange)
            raise
        finally:
            exchange.finished = time.monotonic()

    def _read_stream(self, head: Answer, chunks: Iterator[bytes], exchange: Exchange) -> None:
        """Read a stream up to its end, after which the connection may stay open; or raise."""
        message, are_named = stream.Accumulator(api.parse_json), True
        exchange.message = message.result
        for batch in stream.events(chunks):
            for is_named, data in batch:
                text = data.decode("utf-8", "replace")
                event = api.parse_json(text)
                if isinstance(event, dict):
                    are_named &= is_named
                    message.add(event)
                elif not message.is_complete:
                    raise Failure("not a message", api.one_line(text))
            for block_and_text in message.new_texts.items():
                exchange.first_text = exchange.first_text or sum(exchange.durations().values())
                self.post(block_and_text)
            message.new_texts = {}
            if message.is_complete or message.error:
                break
        if message.error:
            raise api.read_error(head._replace(json=message.error))
        if not message.is_complete and exchange.message() is not None:
            raise Failure("response cut", "the stream lacks stop_reason or message_stop")
        if not are_named:
            self.report.warnings.append("the events have no names (event: lines): SDKs skip those")


def _so_far(head: Answer, exchange: Exchange) -> Answer:
    """Return what has come of an answer: of a stream the message, of anything else the body."""
    message, body = exchange.message(), bytes(exchange.body)
    if message is None:
        return api.readable_answer(head, body)
    return head._replace(body=body, json=api.masked(message))


def _completed(failure: Failure, exchange: Exchange) -> Failure:
    """Mask what a failure quotes, and add what had come of an answer."""
    failure.answer = exchange.answer and _so_far(exchange.answer, exchange)
    quoted = [failure.message, failure.kind, failure.code, failure.facts]
    failure.message, failure.kind, failure.code, failure.facts = api.masked(quoted)
    return failure


def timed_out(report: Report) -> Failure:
    """Return the failure of a run whose time is up, with what had come by then."""
    exchange, head = report.exchange, report.exchange.answer
    if report.failure is not None:
        return report.failure
    if head is not None and head.status >= 400:  # which says the essential
        return _completed(api.read_error(_so_far(head, exchange)), exchange)
    return _completed(transport.classify(TimeoutError(), exchange.phase), exchange)


def journey_warnings(exchange: Exchange) -> Iterator[str]:
    """Yield what the way there was like, where official SDKs would have fared otherwise."""
    durations, limit = exchange.durations(), transport.ADDRESS_TIMEOUT
    if Phase.WAITING not in durations:
        return
    for address in exchange.silent:
        yield f"{address} did not answer within {limit:g} s; {exchange.address} did"
    for phase in (Phase.TCP, Phase.TLS):
        seconds = durations.get(phase, 0.0)
        if seconds > limit and not exchange.silent:
            yield f"{phase.name} took {seconds:.1f} s: the Python SDK gives up after {limit:g} s"


def seconds_to_wait(headers: Mapping[str, str], attempt: int) -> float:
    """Return what an answer asks for, else what official SDKs wait: 0.5 s, doubling up to 8 s."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        seconds, text = 0.0, headers.get(name, "")
        with suppress(ValueError, OverflowError):
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        with suppress(ValueError):
            seconds = float(text) / unit
        if 0 < seconds < math.inf:
            return seconds
    jitter = 1 - 0.25 * random.random()  # noqa: S311 jitter needs no secrecy
    return min(0.5 * 2.0 ** min(attempt - 1, 10), 8.0) * jitter
