"""Attempts and waits, with a sleep that takes no time."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Answer, answer, drip, error, hang, reset, serving

from claude_ping import api, diagnosis, ping, transport
from claude_ping.ping import Caller
from claude_ping.records import Failure, Fault, Reply, Request, Response, Retry
from claude_ping.transport import Trace

OVERLOADED = answer(529, error("overloaded_error", "Overloaded"))
OK = answer()


class Conversation:
    """One run against these answers, and what it did."""

    def __init__(self, *answers: Answer, retries: int = 2, timeout: float = 60) -> None:
        self.waits: list[float] = []
        self.notices: list[Retry] = []
        with serving(*answers) as server:
            request = Request("POST", f"{server.url}/v1/messages", {}, {})
            self.trace = Trace(transport.find_route(request.url), time.monotonic() + timeout)
            caller = Caller(self.trace, retries, self._take, self.waits.append)
            self.outcome = ping.converse(request, read, caller)
        self.sent = len(server.requests)

    def _take(self, event: object) -> None:
        assert isinstance(event, Retry)
        self.notices.append(event)


def read(response: Response) -> Reply:
    return api.read_reply(api.read_answer(response))


def limited(**headers: str) -> bytes:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(429, error("rate_limit_error", "slow down"), names)


def test_an_answer_worth_retrying_is_retried_until_one_is_not() -> None:
    conversation = Conversation(OVERLOADED, limited(), OK, retries=5)

    assert isinstance(conversation.outcome, Reply)
    assert conversation.sent == 3
    assert [(n.failure.status, n.attempt, n.attempts) for n in conversation.notices] == [
        (529, 2, 6),
        (429, 3, 6),
    ]
    assert [notice.wait for notice in conversation.notices] == conversation.waits


def test_the_last_failure_is_the_outcome_when_retries_are_spent() -> None:
    conversation = Conversation(OVERLOADED, retries=2)

    assert isinstance(conversation.outcome, Failure)
    assert conversation.outcome.status == 529
    assert conversation.sent == conversation.trace.attempts == 3


RETRIED: dict[str, Answer] = {
    "408": answer(408, b""),
    "409": answer(409, error("conflict_error", "x")),
    "429": limited(),
    "500": answer(500, b"oops"),
    "503": answer(503, b"<html>"),
    "599": answer(599, b""),
    "closed without an answer": b"",
    "reset without an answer": reset,
    "400 that asks for it": answer(400, b"", {"x-should-retry": "true"}),
}
NOT_RETRIED: dict[str, Answer] = {
    "200": OK,
    "200 that is no message": answer(200, b"<html>"),
    "200 that is an error": answer(200, error("overloaded_error", "x")),
    "307": answer(307, b""),
    "400": answer(400, b""),
    "401": answer(401, b""),
    "404": answer(404, b""),
    "cut body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
    "not HTTP": b"SSH-2.0-OpenSSH_9\r\n",
    "529 that asks not to": answer(529, b"", {"x-should-retry": "false"}),
    "spend cap": answer(
        429,
        error("rate_limit_error", "cap", error_code="enforced_spend_limit_reached"),
        {"x-should-retry": "true"},
    ),
}


@pytest.mark.parametrize("name", RETRIED)
def test_what_may_pass_is_tried_again(name: str) -> None:
    conversation = Conversation(RETRIED[name], OK, retries=1)

    assert isinstance(conversation.outcome, Reply)
    assert conversation.sent == 2


@pytest.mark.parametrize("name", NOT_RETRIED)
def test_what_will_not_pass_or_may_be_billed_is_not_tried_again(name: str) -> None:
    conversation = Conversation(NOT_RETRIED[name], OK, retries=1)

    assert conversation.sent == 1
    assert conversation.waits == []


def test_a_refused_connection_is_tried_again_and_a_time_out_is_not() -> None:
    refused, slow = Failure(Fault.REFUSED), Conversation(hang, OK, timeout=0.2)

    assert diagnosis.is_worth_retrying(refused)
    assert isinstance(slow.outcome, Failure)
    assert slow.outcome.fault is Fault.TIMEOUT
    assert slow.sent == 1


def test_the_wait_that_is_asked_for_is_the_wait() -> None:
    assert Conversation(limited(retry_after="7"), OK).waits == [7.0]
    assert Conversation(limited(retry_after_ms="1500", retry_after="7"), OK).waits == [1.5]


def test_a_wait_beyond_the_deadline_ends_the_run() -> None:
    conversation = Conversation(limited(retry_after="61"), OK)

    assert isinstance(conversation.outcome, Failure)
    assert conversation.waits == []
    assert conversation.trace.unfit_wait == 61


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        (" 3 ", 3.0),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("9" * 400, None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (formatdate(0, usegmt=True), None),
        ("Sat, 99 Nov 2026 11:00:00 GMT", None),
        ("Sat, 21 Nov 99999999 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_or_passed_over(text: str, seconds: float | None) -> None:
    assert ping.asked_wait({"retry-after": text}) == seconds


def test_retry_after_may_be_a_date() -> None:
    wait = ping.asked_wait({"retry-after": formatdate(time.time() + 90, usegmt=True)})

    assert wait is not None
    assert 88 < wait <= 90


@given(st.text(), st.text())
def test_no_retry_after_is_a_crash(seconds: str, milliseconds: str) -> None:
    wait = ping.asked_wait({"retry-after": seconds, "retry-after-ms": milliseconds})

    assert wait is None or wait > 0


@given(st.integers(1, 10_000))
def test_the_backoff_doubles_up_to_a_bound(attempt: int) -> None:
    longest = [0.5, 1, 2, 4, 8][min(attempt, 5) - 1]

    assert longest * 0.75 <= ping.backoff(attempt) <= longest


def test_the_caller_is_called_while_it_waits() -> None:
    ticks = []
    with serving(drip(OK, 0.01)) as server:
        request = Request("POST", f"{server.url}/v1/messages", {}, {})
        trace = Trace(transport.find_route(request.url), time.monotonic() + 30)
        outcome = ping.supervise(
            lambda post: ping.converse(request, read, Caller(trace, 0, post)),
            trace,
            lambda _: None,
            lambda: ticks.append(trace.phase),
        )

    assert isinstance(outcome, Reply)
    assert ticks


def test_a_bug_in_the_thread_is_raised_to_the_caller() -> None:
    request = Request("POST", "http://127.0.0.1:1/v1/messages", {}, {"not": object()})
    trace = Trace(transport.find_route(request.url), time.monotonic() + 5)

    with pytest.raises(TypeError, match="not JSON serializable"):
        ping.supervise(
            lambda post: ping.converse(request, read, Caller(trace, 0, post)), trace, lambda _: None
        )
