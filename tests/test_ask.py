"""Models: the list, and what is done when one is not there."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from helpers import Run
from servers import MESSAGE, Answer, RawServer, answer, error, hang, serving

GONE = answer(404, error("not_found_error", "model: x"), {"request-id": "req_404"})


def model(identifier: str, **fields: Any) -> dict[str, Any]:
    return {"type": "model", "id": identifier, "display_name": "", "created_at": None, **fields}


def page(*models: Any, has_more: bool = False) -> bytes:
    last = models[-1]["id"] if models and isinstance(models[-1], dict) else None
    body = {"data": list(models), "has_more": has_more, "first_id": "f", "last_id": last}
    return answer(200, body, {"request-id": "req_models"})


def routes(**answers: Answer) -> Answer:
    """Answer by method, and POSTs by the model they ask for, if it is named here."""

    def respond(connection: socket.socket, server: RawServer) -> None:
        request = server.requests[-1]
        method = request.split(b" ")[0].decode()
        body = request.partition(b"\r\n\r\n")[2]
        asked = json.loads(body)["model"].replace("-", "_") if body else ""
        chosen = answers.get(asked, answers[method])
        assert isinstance(chosen, bytes)
        connection.sendall(chosen)

    return respond


def test_the_models_are_listed_with_what_is_known_of_them(run: Run, key: str) -> None:
    models = [
        model(
            "claude-new",
            display_name="Claude New",
            created_at="2026-10-07T00:00:00Z",
            max_input_tokens=1_000_000,
            max_tokens=128_000,
            lifecycle="active",
        ),
        model("claude-old-1", created_at="1970-01-01T00:00:00Z", lifecycle="deprecated"),
        model("claude-older", lifecycle="deprecated", retires_at="2026-11-30T00:00:00Z"),
        model("claude-soon", retires_at="2027-01-01T00:00:00Z", max_tokens="many"),
        {"id": 7},
        "nonsense",
    ]
    with serving(page(*models)) as server:
        ran = run("--base-url", server.url, "--models")

    lines = ran.out.splitlines()
    assert ran.code == 0
    assert server.requests[0].startswith(b"GET /v1/models?limit=1000 HTTP/1.1\r\n")
    assert b"Content-Type" not in server.requests[0]
    assert lines[0].startswith(f"GET {server.url}/v1/models?limit=1000   key …j4AA")
    assert lines[1].startswith("✓ 200 X in ")
    assert lines[1].endswith(" s, 5 models")
    assert lines[2:] == [
        "  claude-new    Claude New  2026-10-07  1M in, 128k out",
        "  claude-old-1" + " " * 43 + "deprecated",
        "  claude-older" + " " * 43 + "deprecated, retires 2026-11-30",
        "  claude-soon" + " " * 27 + "many out" + " " * 9 + "retiring, retires 2027-01-01",
        "  7",
        "  request-id req_models",
    ]


def test_every_page_is_asked_for(run: Run, key: str) -> None:
    pages = [page(model("a b"), has_more=True), page(model("c"), has_more=True), page(model("d"))]
    with serving(*pages) as server:
        listed = run("--base-url", server.url, "--models", "--json")
        report = json.loads(listed.out)

    paths = [request.split(b" ")[1].decode() for request in server.requests]
    assert paths == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=a%20b",
        "/v1/models?limit=1000&after_id=c",
    ]
    body = report["response"]["body"]
    assert [item["id"] for item in body["data"]] == ["a b", "c", "d"]
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "f", "d")
    assert report["headline"] == "200 OK, 3 models"
    assert report["key_accepted"]


def test_pages_that_go_in_circles_end(run: Run, key: str) -> None:
    with serving(page(model("a"), has_more=True)) as server:
        ran = run("--base-url", server.url, "--models")

    assert ran.code == 0
    assert len(server.requests) == 2
    assert "note: there are more models than this list was given" in ran.err


def test_every_page_has_its_own_retries(run: Run, key: str) -> None:
    busy = answer(529, b"", {"retry-after-ms": "1"})
    pages = [busy, busy, page(model("a"), has_more=True), busy, busy, page(model("b"))]
    with serving(*pages) as server:
        ran = run("--base-url", server.url, "--models")

    assert ran.code == 0
    assert ran.err.count("then attempt 3 of 3") == 2


def hanging_list(connection: socket.socket, server: RawServer) -> None:
    if server.requests[-1].startswith(b"POST"):
        connection.sendall(GONE)
    else:
        hang(connection, server)


def test_a_list_that_hangs_takes_nothing_from_the_404(run: Run, key: str) -> None:
    with serving(hanging_list) as server:
        ran = run("--base-url", server.url, "-m", "x", "--timeout", "0.5")

    assert ran.code == 9
    assert "✗ 404 not_found_error: model: x" in ran.err


def test_a_list_that_hangs_is_not_waited_for_long(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_ping.ask.HINT_TIMEOUT", 0.2)

    with serving(hanging_list) as server:
        started = time.monotonic()
        ran = run("--base-url", server.url, "-m", "x", "--timeout", "20")

    assert ran.code == 9
    assert time.monotonic() - started < 10


def test_pages_without_end_end(run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_ping.ask.MAX_PAGES", 3)
    pages = [page(model(f"m{number}"), has_more=True) for number in range(9)]
    with serving(*pages) as server:
        ran = run("--base-url", server.url, "--models")

    assert ran.code == 0
    assert len(server.requests) == 3


def test_a_size_out_of_all_bounds_is_cut(run: Run, key: str) -> None:
    with serving(page(model("claude-vast", max_tokens=10**400))) as server:
        ran = run("--base-url", server.url, "--models")

    assert "100000000000… out" in ran.out


def test_no_models_at_all_is_an_answer(run: Run, key: str) -> None:
    with serving(answer(200, {"data": []})) as server:
        ran = run("--base-url", server.url, "--models")

    assert ran.code == 0
    assert "0 models" in ran.out


@pytest.mark.parametrize(
    ("reply", "code", "headline"),
    [
        (answer(401, error("authentication_error", "invalid x-api-key")), 4, "401 authentication"),
        (answer(200, MESSAGE), 10, "200 X, but not a list of models: JSON of type 'message'"),
        (answer(200, b"<html>"), 10, "200 X, but not a list of models: HTML page"),
        (answer(200, {"data": [1, 2]}), 10, "200 X, but not a list of models: other JSON"),
        (answer(404, b"404 page not found"), 9, "404 404 page not found"),
    ],
)
def test_a_failure_to_list_is_diagnosed(
    run: Run, key: str, reply: bytes, code: int, headline: str
) -> None:
    with serving(reply) as server:
        ran = run("--base-url", server.url, "--models")

    assert (ran.code, ran.out) == (code, "")
    assert f"✗ {headline}" in ran.err


def test_raw_lists_what_came(run: Run, key: str) -> None:
    with serving(answer(200, b'{"data": [] }')) as server:
        assert run("--base-url", server.url, "--models", "--raw").out == '{"data": [] }'


def test_a_misspelt_model_is_answered_with_the_closest_ones(run: Run, key: str) -> None:
    listed = page(model("claude-haiku-5-5"), model("claude-opus-5-5"), model("claude-sonnet-5-5"))
    with serving(routes(POST=GONE, GET=listed)) as server:
        ran = run("--base-url", server.url, "-m", "claude-sonet-5.5")

    assert ran.code == 9
    assert len(server.requests) == 2
    assert "  • Ids here have dashes for dots: 4-5, not 4.5." in ran.err
    closest = "claude-sonnet-5-5, claude-opus-5-5, claude-haiku-5-5"
    assert f"  • The closest that this key may use: {closest}" in ran.err
    assert "request-id req_404" in ran.err


def test_a_model_like_no_other_is_answered_with_the_newest(run: Run, key: str) -> None:
    with serving(routes(POST=GONE, GET=page(model("claude-a"), model("claude-b")))) as server:
        ran = run("--base-url", server.url, "-m", "zzz")

    assert "The closest that this key may use: claude-a, claude-b" in ran.err


@pytest.mark.parametrize("listing", [answer(500, b"oops"), b"", answer(200, b"<html>"), page()])
def test_a_list_that_fails_is_not_spoken_of(run: Run, key: str, listing: bytes) -> None:
    with serving(routes(POST=GONE, GET=listing)) as server:
        ran = run("--base-url", server.url)

    assert ran.code == 9
    assert len(server.requests) == 2
    assert "✗ 404 not_found_error: model: x" in ran.err
    assert "closest" not in ran.err


@pytest.mark.parametrize(
    "newest", [model("claude-haiku-7", line="haiku"), model("claude-haiku-7")], ids=["line", "id"]
)
def test_the_newest_of_its_line_takes_the_place_of_the_default(
    run: Run, key: str, newest: dict[str, Any]
) -> None:
    reply = answer(200, {**MESSAGE, "model": "claude-haiku-7"})
    listed = page(
        model("claude-opus-9", line="opus"), newest, model("claude-haiku-6", line="haiku")
    )
    with serving(routes(POST=GONE, GET=listed, claude_haiku_7=reply)) as server:
        ran = run("--base-url", server.url, "--json")

    report = json.loads(ran.out)
    assert ran.code == 0
    assert report["request"]["body"]["model"] == "claude-haiku-7"
    assert report["warnings"] == [
        "claude-haiku-5-5, the default, is gone; asked claude-haiku-7 instead"
    ]


def test_a_replacement_that_fails_in_another_way_is_the_outcome(run: Run, key: str) -> None:
    listed = page(model("claude-haiku-7", line="haiku"), model("x" * 999), model("y", max_tokens=9))
    busy = answer(401, b"")
    with serving(routes(POST=GONE, GET=listed, claude_haiku_7=busy)) as server:
        assert run("--base-url", server.url).code == 4


def test_a_model_that_was_chosen_is_never_replaced(run: Run, key: str) -> None:
    listed = page(model("claude-haiku-7", line="haiku"))
    with serving(routes(POST=GONE, GET=listed, claude_haiku_7=answer())) as server:
        ran = run("--base-url", server.url, "-m", "claude-haiku-5-5")

    assert ran.code == 9


def test_a_replacement_that_fails_too_leaves_the_first_failure(run: Run, key: str) -> None:
    with serving(routes(POST=GONE, GET=page(model("claude-haiku-7", line="haiku")))) as server:
        ran = run("--base-url", server.url)

    assert ran.code == 9
    assert "The model claude-haiku-5-5 is unknown, retired" in ran.err
    assert "The closest that this key may use: claude-haiku-7" in ran.err
