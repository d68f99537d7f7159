"""What is tried again and what is not, how long it waits, and the second look at models."""

from __future__ import annotations

import json
import re
import time
from email.utils import formatdate

import pytest
from helpers import Run
from servers import (
    MESSAGE,
    Answer,
    RawServer,
    answer,
    closed_port,
    error,
    hang,
    listing,
    reset,
    routed,
    serving,
    then,
)

pytestmark = pytest.mark.usefixtures("key")

OK = answer()
API = {"request-id": "req_x"}
SOON = {"retry-after-ms": "1"}
AGAIN, NEVER = {"x-should-retry": "true"}, {"x-should-retry": "false"}


def limited(headers: dict[str, str]) -> bytes:
    return answer(429, error("rate_limit_error", "Slow down."), API | headers)


def posts(server: RawServer) -> list[str]:
    """The models that were asked, one a POST."""
    bodies = [sent.partition(b"\r\n\r\n")[2] for sent in server.requests if sent[:4] == b"POST"]
    return [json.loads(body)["model"] for body in bodies]


RETRIED: dict[str, tuple[Answer, str]] = {  # and what is said of it
    "408": (answer(408, b"", SOON), "408"),
    "409": (answer(409, error("conflict_error", "Busy."), SOON), "409"),
    "429": (limited(SOON), "429"),
    "500": (answer(500, b"oops", SOON), "500"),
    "529": (answer(529, error("overloaded_error", "Overloaded"), SOON), "529"),
    "400 that asks for it": (answer(400, b"", SOON | AGAIN), "400"),
    "closed before the answer": (b"", ""),
    "reset before the answer": (reset, ""),
}


@pytest.mark.parametrize("case", RETRIED)
def test_what_may_pass_is_tried_again(run: Run, case: str) -> None:
    first, reason = RETRIED[case]
    with serving(first, OK) as server:
        ran = run("--base-url", server.url, "--json", "--retries", "1")

    (retry,) = ran.report["retries"]
    assert (ran.code, ran.report["attempts"], len(server.requests)) == (0, 2, 2)
    assert reason in retry["reason"]
    assert 0 < retry["wait"] < 1
    assert re.search(rf"{reason}.*; retrying in \d\.\d+ s \(attempt 2 of 2\)", ran.err)


CAP = error("rate_limit_error", "Cap", error_code="enforced_spend_limit_reached")
CREDIT = error("invalid_request_error", "Your credit balance is too low to access this API.")
BAD_KEY = answer(401, error("authentication_error", "invalid x-api-key"), API)
GONE = answer(404, error("not_found_error", "model: m"), {"request-id": "req_404"})
BEGUN = 'event: message_start\ndata: {"type": "message_start", "message": %s}\n\n'
BROKEN = f"event: error\ndata: {json.dumps(error('overloaded_error', 'Overloaded'))}\n\n"
STREAM = (BEGUN % json.dumps({**MESSAGE, "content": []}) + BROKEN).encode()
NOT_RETRIED: dict[str, tuple[Answer, int]] = {
    "a bad key": (BAD_KEY, 4),
    "a bad request": (answer(400, error("invalid_request_error", "max_tokens: too large")), 9),
    "no credit": (answer(400, CREDIT, API), 7),
    "a spend cap, though it asks for it": (answer(429, CAP, API | AGAIN), 7),
    "money, under another status": (answer(503, {"error": "insufficient balance"}), 7),
    "a model that is gone": (GONE, 9),
    "a model, under another status": (answer(503, {"error": {"code": "model_not_found"}}), 9),
    "no message": (answer(200, b"<html>"), 10),
    "no HTTP": (b"SSH-2.0-Made_Up\r\n", 10),
    "a time-out": (hang, 6),
    "an answer that is cut": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", 6),
    "an error in a stream": (answer(200, STREAM, {"content-type": "text/event-stream"} | API), 5),
    "529 that asks not to": (answer(529, b"", SOON | NEVER), 5),
    "429 that asks not to": (limited(SOON | NEVER), 8),
}


@pytest.mark.parametrize("case", NOT_RETRIED)
def test_what_will_not_pass_or_may_be_billed_is_not_tried_again(run: Run, case: str) -> None:
    first, code = NOT_RETRIED[case]
    argv = ["-m", "m", "--json", "--timeout", "0.3" if code == 6 else "9"]
    with serving(routed(POST=first, GET=listing("m"))) as server:
        report = run("--base-url", server.url, *argv, *["--stream"] * ("stream" in case)).report

    assert (report["exit_code"], report["retryable"]) == (code, code in (5, 6, 8))
    assert (report["attempts"], report["retries"], len(posts(server))) == (1, [], 1)


def test_a_refused_connection_is_tried_again(run: Run) -> None:
    ran = run("--base-url", f"http://127.0.0.1:{closed_port()}", "--json", "--retries", "1")

    assert (ran.code, ran.report["retryable"], len(ran.report["retries"])) == (6, True, 1)


def test_what_an_earlier_attempt_sent_is_not_denied(run: Run) -> None:
    with serving(lambda _, server: server.stop()) as server:
        ran = run("--base-url", server.url, "--retries", "1")

    assert ran.code == 6
    assert re.search(r"TCP ✗.*  key sent", ran.err)


def test_waits_double_and_the_last_failure_is_the_outcome(run: Run) -> None:
    with serving(answer(529, error("overloaded_error", "Overloaded"), API)) as server:
        ran = run("--base-url", server.url, "--json")

    first, second = (retry["wait"] for retry in ran.report["retries"])
    assert (ran.code, ran.report["attempts"], len(server.requests)) == (5, 3, 3)
    assert 0.2 < first < second <= 1.5
    assert re.findall(r"retrying in .* \(attempt (\d of \d)\)", ran.err) == ["2 of 3", "3 of 3"]


MS, SECONDS = "retry-after-ms", "retry-after"
WAITS: dict[str, tuple[dict[str, str], float | None]] = {  # None: a wait of our own
    "milliseconds before seconds": ({MS: "120", SECONDS: "7"}, 0.12),
    "seconds": ({SECONDS: "0.12"}, 0.12),
    "a word": ({SECONDS: "soon"}, None),
    "less than nothing": ({SECONDS: "-1"}, None),
    "no number": ({SECONDS: "nan"}, None),
    "a date that has passed": ({SECONDS: formatdate(0, usegmt=True)}, None),
}


@pytest.mark.parametrize("case", WAITS)
def test_the_wait_that_is_asked_for_is_kept(run: Run, case: str) -> None:
    headers, wait = WAITS[case]
    with serving(limited(headers), OK) as server:
        ran = run("--base-url", server.url, "--json")

    (retry,) = ran.report["retries"]
    assert ran.code == 0
    assert retry["wait"] == pytest.approx(wait or retry["wait"])
    assert (0.2 if wait is None else 0.1) < retry["wait"] < 0.8
    assert ran.report["timing"]["total"] >= retry["wait"]
    assert re.search(rf"429 .*; retrying in {retry['wait']:.1f} s \(attempt 2 of 3\)", ran.err)


@pytest.mark.parametrize("unit", ["seconds", "date"])
@pytest.mark.parametrize(("status", "code"), [(429, 8), (529, 5)])
def test_a_wait_that_does_not_fit_is_not_begun(run: Run, status: int, code: int, unit: str) -> None:
    wait = "300" if unit == "seconds" else formatdate(time.time() + 300, usegmt=True)
    body = error("overloaded_error" if code == 5 else "rate_limit_error", "Not now.")
    with serving(answer(status, body, API | {"retry-after": wait})) as server:
        report = run("--base-url", server.url, "--json").report

    hints = "\n".join(report["hints"])
    enough = re.search(r"claude-ping --timeout (\d+)", hints)
    assert (report["exit_code"], report["retries"], len(server.requests)) == (code, [], 1)
    assert report["timing"]["total"] < 5
    assert re.search(r"\b5 min\b", "\n".join([report["headline"], *report["explanation"], hints]))
    assert enough
    assert int(enough[1]) > 300


def test_the_models_are_listed(run: Run) -> None:
    with serving(listing("claude-opus-9", "claude-haiku-7", has_more=True)) as server:
        shown = run("--base-url", server.url, "--models")
        report = run("--base-url", server.url, "--models", "--json").report

    listed = [model["id"] for model in report["response"]["body"]["data"]]
    asked = [sent.split(b" HTTP")[0] for sent in server.requests]
    assert asked == [b"GET /v1/models?limit=1000"] * 2
    assert shown.code == 0
    assert re.search(r"claude-opus-9.*\n.*claude-haiku-7", shown.out)
    assert listed == ["claude-opus-9", "claude-haiku-7"]
    assert (report["request"]["method"], report["request"]["body"]) == ("GET", None)
    assert (report["key_accepted"], report["attempts"]) == (True, 1)


def test_a_gateway_without_a_list_is_told_of(run: Run) -> None:
    with serving(answer(404, b"404 page not found")) as server:
        ran = run("--base-url", server.url, "--models")

    assert (ran.code, ran.out) == (9, "")
    assert re.search("lists no models|send a message", ran.err)


CLOSEST = {"claude-sonet-5-5": "claude-sonnet-5-5", "claude-sonnet-5-5": "claude-sonnet-5"}


@pytest.mark.parametrize("asked", CLOSEST)
def test_the_closest_models_are_named_and_never_the_same(run: Run, asked: str) -> None:
    gone = answer(404, error("not_found_error", f"model: {asked}"), API)
    models = listing("claude-opus-5-5", "claude-sonnet-5-5", "claude-sonnet-5")
    with serving(routed(POST=gone, GET=models)) as server:
        report = run("--base-url", server.url, "-m", asked, "--json").report

    (hint,) = [hint for hint in report["hints"] if "closest" in hint.lower()]
    named = re.findall(r"claude-[\w.-]*\w", hint)
    assert (report["exit_code"], posts(server), len(server.requests)) == (9, [asked], 2)
    assert server.requests[1].startswith(b"GET /v1/models")
    assert named[0] == CLOSEST[asked]
    assert asked not in named


NO_LIST: dict[str, Answer] = {
    "fails": answer(500, b"oops", SOON),
    "is closed": b"",
    "is a page": answer(200, b"<html>"),
    "is empty": listing(),
    "hangs": hang,
}


@pytest.mark.parametrize("case", NO_LIST)
def test_the_404_stands_when_the_list(run: Run, case: str) -> None:
    argv = ["--json", "--timeout", "0.5" if case == "hangs" else "9"]
    with serving(routed(POST=GONE, GET=NO_LIST[case])) as server:
        report = run("--base-url", server.url, *argv).report

    assert (report["exit_code"], report["response"]["status"]) == (9, 404)
    assert "model: m" in report["headline"]
    assert (report["response"]["request_id"], len(server.requests)) == ("req_404", 2)


NEWER = listing("claude-opus-9", "claude-haiku-7", "claude-haiku-6")


def test_the_newest_of_its_line_stands_in_for_the_default(run: Run) -> None:
    reply = answer(200, {**MESSAGE, "model": "claude-haiku-7"}, API)
    with serving(routed(POST=GONE, GET=NEWER, claude_haiku_7=reply)) as server:
        shown = run("--base-url", server.url)
        report = run("--base-url", server.url, "--json").report

    assert (shown.code, report["request"]["body"]["model"]) == (0, "claude-haiku-7")
    assert posts(server) == ["claude-haiku-5-5", "claude-haiku-7"] * 2
    for said in [shown.err, "\n".join(report["warnings"])]:
        assert re.search("claude-haiku-5-5.*claude-haiku-7", said)


INSTEAD: dict[str, tuple[str, Answer, int, int]] = {  # the model; exit code, messages sent
    "fails in another way": ("", BAD_KEY, 4, 2),
    "is gone as well": ("", GONE, 9, 2),
    "is not wanted": ("claude-haiku-4", OK, 9, 1),
}


@pytest.mark.parametrize("case", INSTEAD)
def test_the_verdict_when_the_model_that_stands_in(run: Run, case: str) -> None:
    model, reply, code, sent = INSTEAD[case]
    with serving(routed(POST=GONE, GET=NEWER, claude_haiku_7=reply)) as server:
        ran = run("--base-url", server.url, *(["-m", model] if model else []))

    assert (ran.code, len(posts(server))) == (code, sent)


STREAM = b"".join(
    f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
    for kind, fields in {"message_start": {"message": MESSAGE}, "message_stop": {}}.items()
)


def test_a_stream_whose_connection_stays_open_ends_with_its_message(run: Run) -> None:
    with serving(then(b"HTTP/1.1 200 OK\r\n\r\n" + STREAM, hang)) as server:
        ran = run("--base-url", server.url, "--stream", "--timeout", "5", "--json")

    assert (ran.code, ran.report["timing"]["total"] < 2) == (0, True)


def test_a_message_without_a_stop_reason_is_not_complete(run: Run) -> None:
    cut = STREAM.replace(b'"end_turn"', b"null")
    with serving(answer(200, cut)) as server:
        ran = run("--base-url", server.url, "--stream")

    assert cut != STREAM
    assert "ended early: the stream lacks stop_reason" in ran.err


def test_what_follows_a_complete_message_is_not_looked_at(run: Run) -> None:
    with serving(answer(200, STREAM + b"data: [DONE]\n\n")) as server:
        assert run("--base-url", server.url, "--stream").code == 0
