"""The whole program, in process, against the simulator and against loopback servers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import GOLDEN, KEY, Run
from servers import MESSAGE, answer, error, serving

from claude_ping import simulator
from claude_ping.records import ExitCode

EXIT_CODES = {
    "ok": 0,
    "thinking": 0,
    "tool_use": 0,
    "truncated": 0,
    "refusal": 0,
    "400": 9,
    "credit": 7,
    "401": 4,
    "403": 4,
    "404": 9,
    "413": 9,
    "429": 8,
    "spend-cap": 7,
    "500": 5,
    "529": 5,
    "overloaded-once": 0,
    "html": 10,
    "502": 5,
    "drop": 6,
    "hang": 6,
}


def test_every_scenario_has_an_expected_exit_code_and_output() -> None:
    assert EXIT_CODES.keys() == simulator.SCENARIOS.keys()
    assert {path.stem for path in GOLDEN.glob("*.txt")} == simulator.SCENARIOS.keys()


@pytest.mark.parametrize("scenario", EXIT_CODES)
def test_a_simulated_run_ends_with_its_code_and_reads_as_it_should(
    run: Run, scenario: str, golden: Callable[[str, str], None]
) -> None:
    retries = "1" if scenario == "overloaded-once" else "0"

    ran = run("--simulate", scenario, "--retries", retries, "--timeout", "1.7", "hello")

    assert ran.code == EXIT_CODES[scenario]
    assert bool(ran.out) is (ran.code == 0)
    golden(scenario, f"{ran.out}{ran.err}")


def test_a_reply_is_shown_with_everything_worth_knowing(run: Run) -> None:
    ran = run("--simulate", "tool_use", "hello")

    lines = ran.out.splitlines()
    assert lines[0].startswith("POST http://127.0.0.1:")
    assert lines[0].endswith("/v1/messages   key …SIAA from --simulate")
    assert lines[1].startswith("✓ 200 OK in 0.")
    assert lines[2:] == [
        "  model         claude-haiku-5-5",
        "  stop_reason   tool_use",
        "  usage         8 input, 12 output tokens",
        "  request-id    req_011CS1mu1atedAnswer0001",
        "",
        "  text",
        "  │ I'll look that up.",
        "",
        "  tool_use get_weather toolu_01Simulated",
        "  │ {",
        '  │   "input": {',
        '  │     "city": "Paris"',
        "  │   }",
        "  │ }",
    ]


def test_a_rejected_key_is_named_with_its_place_and_the_other_one_that_it_hides(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("# mine\n\nANTHROPIC_API_KEY=" + KEY[:-4] + "Qx2A\n", "utf-8")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    body = error("authentication_error", "invalid x-api-key") | {"request_id": "req_1"}
    with serving(answer(401, body, {"request-id": "req_1"})) as server:
        ran = run("--base-url", server.url, "hello")

    assert ran.code == 4
    assert ran.out == ""
    shadowed = (
        ".env (line 3) holds a different key, …Qx2A; the environment wins."
        " Try the other: claude-ping --env-file .env"
    )
    assert ran.err.splitlines() == [
        f"warning: {shadowed}",
        "✗ 401 authentication_error: invalid x-api-key",
        f"  {server.url} did not accept key …j4AA (108 characters,"
        " ANTHROPIC_API_KEY from the environment).",
        f"  • {shadowed}",
        "  • Is it a key for that gateway? It may not take Anthropic's own.",
        f"  • Is {server.url} (--base-url) the right base URL?",
        f"  POST {server.url}/v1/messages   key …j4AA from the environment",
        "  request-id req_1",
    ]


def test_the_request_holds_what_was_asked_for_and_nothing_else(run: Run, key: str) -> None:
    with serving(answer()) as server:
        ran = run("--base-url", server.url + "/", "hello")

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert ran.code == 0
    assert request_line == "POST /v1/messages HTTP/1.1"
    assert headers == {
        "accept-encoding": "identity",
        "anthropic-version": "2023-06-01",
        "connection": "close",
        "content-length": str(len(body)),
        "content-type": "application/json",
        "host": server.url.removeprefix("http://"),
        "user-agent": "claude-ping/0.1.0",
        "x-api-key": key,
    }
    assert json.loads(body) == {
        "model": "claude-haiku-5-5",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_options_become_fields_and_headers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "gateway-token-0123456789")
    monkeypatch.setenv("ANTHROPIC_WORKSPACE_ID", "wrkspc_1")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-One: from the environment\nx-two: 2")
    options = ["-m", "other", "-s", "brief", "--max-tokens", "7", "--temperature", "0.5", "-H"]
    with serving(answer()) as server:
        ran = run("--base-url", server.url, *options, "X-One: from the option")

    head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert ran.code == 0
    assert json.loads(body) == {
        "model": "other",
        "max_tokens": 7,
        "messages": [{"role": "user", "content": "Reply with the single word: pong"}],
        "system": "brief",
        "temperature": 0.5,
    }
    assert "Authorization: Bearer gateway-token-0123456789" in head
    assert "X-Api-Key" not in head
    assert "Anthropic-Workspace-Id: wrkspc_1" in head
    assert "X-One: from the option" in head
    assert "X-Two: 2" in head
    assert "note: asked for other, answered by claude-haiku-5-5" in ran.err


def test_a_dash_reads_the_prompt_from_standard_input(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("höllo\n".encode())))
    with serving(answer()) as server:
        run("--base-url", server.url, "-")

    body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert body["messages"][0]["content"] == "höllo\n"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "must not be empty", id="nothing"),
        pytest.param(b"ab\xff", "not valid UTF-8 at character 3", id="not UTF-8"),
    ],
)
def test_standard_input_that_is_no_prompt_is_a_usage_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, data: bytes, problem: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    ran = run("-")

    assert ran.code == 2
    assert f"argument PROMPT: standard input: {problem}" in ran.err


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--max-tokens", "-1"], "--max-tokens: expected a whole number, 0 or more, not '-1'"),
        (["--max-tokens", "1e3"], "--max-tokens: expected a whole number"),
        (["--temperature", "1.5"], "--temperature: expected a number from 0 to 1, not '1.5'"),
        (["--temperature", "nan"], "--temperature: expected a number from 0 to 1"),
        (["--timeout", "0"], "--timeout: expected seconds, more than 0"),
        (["--timeout", "soon"], "--timeout: expected seconds, more than 0"),
        (["--retries", "x"], "--retries: expected a whole number"),
        (["-H", "no colon sk-ant-api03-abcdefgh"], "-H/--header: expected 'NAME: VALUE'"),
        (["-H", "na me: x"], "a header's name is empty, or holds more than"),
        (["-H", "Content-Length: 3"], "Content-Length follows from the request"),
        (["-H", "x: a\nb"], "the value of x contains a line break (U+000A) at position 2"),
        (["--simulate", "nope"], "no scenario is called 'nope'; there are:\n  ok "),
        (["--simulate", "ok", "--base-url", "https://x"], "--simulate: not together with"),
        ([""], "PROMPT: must not be empty"),
        (["\udcff"], "PROMPT: not valid UTF-8 at character 1"),
        (["sk-ant-api03-abcdefgh"], "PROMPT: looks like an API key"),
        (["-n", "x", "token-abcdefgh"], "unrecognized arguments: …"),
        (["--key=sk-ant-api03-abcdefgh"], "unrecognized arguments: --key=sk-…"),
    ],
)
def test_a_bad_value_is_a_usage_error_that_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, argv: list[str], problem: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-abcdefgh")

    ran = run(*argv)

    assert ran.code == 2
    assert problem in ran.err
    assert "abcdefgh" not in ran.err


def test_ctrl_c_while_the_prompt_is_typed_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Typing:
        def read(self) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": Typing()}))

    assert run("-") == (130, "", "interrupted\n")


def test_every_exit_code_is_in_the_help(run: Run) -> None:
    ran = run("--help")

    assert ran.code == 0
    for code in ExitCode:
        assert re.search(rf"\b{code.value} +{code.name.lower()}\b", ran.out)


def test_a_retry_is_announced_and_counted(run: Run, key: str) -> None:
    busy = answer(429, error("rate_limit_error", "slow down"), {"retry-after-ms": "10"})
    with serving(busy, busy, answer()) as server:
        ran = run("--base-url", server.url)

    assert ran.code == 0
    assert len(server.requests) == 3
    assert ran.err.splitlines() == [
        "429 rate_limit_error: waiting 0.0 s, then attempt 2 of 3",
        "429 rate_limit_error: waiting 0.0 s, then attempt 3 of 3",
    ]


def test_a_failure_says_how_often_it_was_tried(run: Run, key: str) -> None:
    busy = answer(500, error("api_error", "oops"), {"retry-after-ms": "1"})
    with serving(busy) as server:
        ran = run("--base-url", server.url, "--retries", "1")

    assert ran.code == 5
    assert re.search(r"(?m)^  2 attempts in 0\.\d s$", ran.err)


def test_a_wait_longer_than_the_deadline_is_not_begun(run: Run, key: str) -> None:
    busy = answer(429, error("rate_limit_error", "slow down"), {"retry-after": "3600"})
    with serving(busy) as server:
        ran = run("--base-url", server.url, "--timeout", "5")

    assert ran.code == 8
    assert len(server.requests) == 1
    assert "The server asks to wait 3600 s." in ran.err
    assert "A wait of 3600.0 s does not fit into --timeout 5." in ran.err


def test_a_redirect_is_reported_and_not_followed(run: Run, key: str) -> None:
    with serving(answer()) as other:
        moved = answer(307, b"", {"location": f"{other.url}/v1/messages"})
        with serving(moved) as server:
            ran = run("--base-url", server.url)

    assert ran.code == 10
    assert f"✗ 307 redirected to {other.url}/v1/messages" in ran.err
    assert "Not followed, so the key was not sent there." in ran.err
    assert other.requests == []


def test_the_key_echoed_by_a_server_is_shown_as_a_mask(run: Run, key: str) -> None:
    echo = dict(MESSAGE) | {"content": [{"type": "text", "text": f"your key is {key}"}]}
    with serving(answer(200, echo), answer(400, error("x", f"bad key {key}"))) as server:
        replied = run("--base-url", server.url)
        failed = run("--base-url", server.url)

    assert "  │ your key is …j4AA" in replied.out
    assert "✗ 400 x: bad key …j4AA" in failed.err
    assert key[13:40] not in replied.out + replied.err + failed.out + failed.err


def test_a_key_that_straddles_the_cut_of_a_long_message_does_not_leak(run: Run, key: str) -> None:
    with serving(answer(400, error("x", "a" * 980 + key))) as server:
        ran = run("--base-url", server.url)

    assert ran.code == 9
    assert key[:16] not in ran.err


def broken(*_: object, **__: object) -> None:
    raise RuntimeError(f"key {KEY}")


LINE = broken.__code__.co_firstlineno + 1


def test_escapes_in_a_status_line_or_an_error_type_are_made_visible(run: Run, key: str) -> None:
    styled = answer().replace(b"200 X", b"200 \x1b[2JOK")
    busy = answer(529, error("\x1b[31mevil\x07", "x"), {"retry-after-ms": "1"})
    with serving(busy, styled) as server:
        ran = run("--base-url", server.url)

    assert ran.code == 0
    assert "✓ 200 \\x1b[2JOK in" in ran.out
    assert "529 \\x1b[31mevil\\x07: waiting" in ran.err
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("echo", ["a" * 4040 + " " + KEY, " " * 4040 + KEY, KEY[:80]])
@pytest.mark.parametrize("status", [200, 500])
def test_no_part_of_the_key_is_left_where_a_body_is_cut(
    run: Run, key: str, echo: str, status: int
) -> None:
    bodies = [echo.encode(), {"type": echo}, {"error": {"message": echo, "type": echo}}]
    for body in bodies:
        with serving(answer(status, body)) as server:
            ran = run("--base-url", server.url, "--retries", "0")
        assert key[13:30] not in ran.err


def test_a_bug_is_one_line_without_values(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_ping.api.message_request", broken)

    ran = run("hello")

    assert ran.code == 1
    assert ran.err.splitlines() == [
        f"✗ a bug in claude-ping: RuntimeError in test_cli.py, line {LINE}",
        "  • Please report it, with what claude-ping -v prints.",
    ]


def test_a_bug_shows_its_traceback_only_when_verbose_and_never_the_key(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_ping.api.message_request", broken)

    ran = run("-v")

    assert ran.code == 1
    assert "Traceback (most recent call last):" in ran.err
    assert "RuntimeError: key …j4AA" in ran.err
    assert key not in ran.err


def test_a_bug_in_the_report_itself_is_one_line_too(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_ping.render.success", broken)

    ran = run("--simulate", "ok", "-q")
    assert ran.code == 0

    ran = run("--simulate", "ok")

    assert ran.code == 1
    assert ran.err.endswith(f"✗ a bug in claude-ping: RuntimeError in test_cli.py, line {LINE}\n")
