"""What pipelines, bug reports and GitHub Actions read."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers import KEY, PROGRAM, Run
from hypothesis import given
from hypothesis import strategies as st
from servers import MESSAGE, Answer, answer, error, hang, serving

from claude_ping import machine, simulator
from claude_ping.records import (
    Answer as Received,
)
from claude_ping.records import (
    Diagnosis,
    ExitCode,
    Failure,
    Fault,
    Report,
    Request,
    Secret,
)

SCHEMA = json.loads(Path(__file__).with_name("report.schema.json").read_text("utf-8"))


def report_of(run: Run, *argv: str) -> dict[str, Any]:
    """The JSON report of a run, held against the schema and the exit code."""
    ran = run("--json", *argv)
    report = json.loads(ran.out)
    jsonschema.validate(report, SCHEMA)
    assert report["exit_code"] == ran.code
    assert report["class"] == ExitCode(ran.code).name.lower()
    assert report["ok"] is (ran.code == 0)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize("scenario", simulator.SCENARIOS)
def test_every_scenario_gives_a_report_of_the_schema(run: Run, scenario: str) -> None:
    report = report_of(run, "--simulate", scenario, "--retries", "0", "--timeout", "1")

    has_answer = simulator.SCENARIOS[scenario].does == "answer"
    assert report["simulated"]
    assert (report["response"] is not None) is has_answer
    assert report["request"]["headers"]["x-api-key"] == "…SIAA"


def test_nothing_but_the_report_is_on_stdout_and_no_headline_on_stderr(run: Run) -> None:
    ran = run("--json", "--simulate", "401")

    assert ran.out.startswith("{\n")
    assert ran.out.endswith("}\n")
    assert ran.err.startswith("note: simulated (401)")
    assert len(ran.err.splitlines()) == 1


def test_the_body_is_the_json_that_came(run: Run, key: str) -> None:
    body = {**MESSAGE, "extra": [1.5, None, {"ünï": "\u2028"}]}
    with serving(answer(200, body, {"x-odd": "not reported", "request-id": "req_1"})) as server:
        response = report_of(run, "--base-url", server.url)["response"]

    assert response["body"] == body
    assert response["body_text"] is None
    assert response["request_id"] == "req_1"
    assert response["headers"].keys() == {"content-length", "content-type", "request-id"}


def test_a_body_that_is_not_json_is_text_cut_after_2000_characters(run: Run, key: str) -> None:
    with serving(answer(502, b"<html>" + b"x" * 3000)) as server:
        response = report_of(run, "--base-url", server.url, "--retries", "0")["response"]

    assert response["body"] is None
    assert response["body_text"] == "<html>" + "x" * 1994


def test_a_key_where_the_text_is_cut_is_masked_before(run: Run, key: str) -> None:
    with serving(answer(502, b"x" * 1970 + key.encode())) as server:
        response = report_of(run, "--base-url", server.url, "--retries", "0")["response"]

    assert response["body_text"] == "x" * 1970 + "…j4AA"


def test_a_setting_that_cannot_work_gives_a_report_too(run: Run) -> None:
    report = report_of(run)

    assert report["class"] == "config"
    assert report["headline"] == "no API key: ANTHROPIC_API_KEY is not set"
    assert report["hints"]
    assert report["credential"] is report["request"] is report["response"] is None
    assert report["attempts"] == 0


def test_a_network_failure_gives_a_report_too(run: Run, key: str) -> None:
    with serving(hang) as server:
        report = report_of(run, "--base-url", server.url, "--timeout", "0.2")

    assert report["class"] == "network"
    assert report["retryable"]
    assert report["key_accepted"] is None
    assert report["attempts"] == 1
    assert report["timing"]["connect"] is not None
    assert report["timing"]["first_byte"] is None
    assert report["credential"] == {
        "kind": "api_key",
        "source": "the environment",
        "length": 108,
        "last4": "j4AA",
    }


def test_a_cut_reply_keeps_its_request_id(run: Run, key: str) -> None:
    cut = b"HTTP/1.1 200 OK\r\nrequest-id: req_9\r\ncontent-length: 99\r\n\r\n{"
    with serving(cut) as server:
        report = report_of(run, "--base-url", server.url)

    assert report["class"] == "network"
    assert report["response"]["request_id"] == "req_9"
    assert report["response"]["body_text"] == "{"


def test_notes_and_warnings_are_in_the_report(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "")
    with serving(answer()) as server:
        report = report_of(run, "--base-url", server.url, "-m", "other")

    assert report["warnings"] == [
        "ANTHROPIC_AUTH_TOKEN in the environment is empty, which counts as not set",
        "asked for other, answered by claude-haiku-5-5",
    ]


RAW: dict[str, tuple[Answer, int, bytes]] = {
    "a reply": (answer(200, b' {"type": "message"}\n'), 0, b' {"type": "message"}\n'),
    "an error": (answer(400, b'{"error": "no"}'), 9, b'{"error": "no"}'),
    "no UTF-8": (answer(400, b"\xff\x1b[0m"), 9, b"\xff\x1b[0m"),
    "nothing": (b"", 6, b""),
    "an echo of the key": (answer(400, f"<{KEY}>".encode()), 9, "<…j4AA>".encode()),
}


@pytest.mark.parametrize("name", RAW)
def test_raw_prints_the_body_as_it_was_received(key: str, name: str) -> None:
    sent, code, expected = RAW[name]
    with serving(sent) as server:
        ran = subprocess.run(
            [*PROGRAM, "--raw", "--base-url", server.url, "--retries", "0"],
            capture_output=True,
            check=False,
        )

    assert (ran.returncode, ran.stdout) == (code, expected)
    assert (b"\xe2\x9c\x97" in ran.stderr) is (code != 0)


def test_raw_and_json_exclude_each_other(run: Run) -> None:
    ran = run("--json", "--raw")

    assert ran.code == 2
    assert "argument --raw: not allowed with argument --json" in ran.err


def test_quiet_is_silent_on_success(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "")
    with serving(answer(529, b"", {"retry-after-ms": "1"}), answer()) as server:
        assert run("-q", "--base-url", server.url) == (0, "", "")


def test_quiet_is_one_line_on_failure(run: Run, key: str) -> None:
    body = error("authentication_error", "invalid\nx-api-key") | {"request_id": "req_1"}
    with serving(answer(401, body)) as server:
        ran = run("-q", "--base-url", server.url)

    assert ran.out == ""
    assert ran.err == "✗ 401 authentication_error: invalid x-api-key (request-id req_1)\n"


def test_quiet_says_when_it_is_simulated(run: Run) -> None:
    ran = run("-q", "--simulate", "500", "--retries", "0")

    assert ran.err.startswith("✗ simulated: 500 api_error: Internal server error (request-id req_")


def test_verbose_shows_both_ways_and_where_the_time_went(run: Run, key: str) -> None:
    busy = answer(529, error("overloaded_error", "x"), {"retry-after-ms": "1"})
    with serving(busy, answer(200, MESSAGE, {"set-cookie": "session=secret"})) as server:
        ran = run("-v", "--base-url", server.url, "-H", "x-gateway-token: hidden-value")

    lines = ran.err.splitlines()
    assert ran.code == 0
    assert f"  > POST {server.url}/v1/messages" in lines
    assert "  > x-api-key: …j4AA" in lines
    assert "  > x-gateway-token: …" in lines
    assert "  < 200 X" in lines
    assert "  < set-cookie: …" in lines
    assert "  attempts   2 (529 overloaded_error, then 0.0 s of waiting)" in lines
    assert "  address    127.0.0.1" in lines
    assert "  proxy      none" in lines
    for phase in ("connect", "first byte", "rest"):
        assert re.search(rf"(?m)^  {phase} +▇+ +\d\.\d{{3}} s$", ran.err)
    assert re.search(r"(?m)^  total +\d\.\d{3} s$", ran.err)
    assert "hidden-value" not in ran.err
    assert "secret" not in ran.err


# GitHub Actions.


def test_a_failure_in_github_actions_marks_the_step(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with serving(answer(400, error("x", "100% wrong, %0A::error::fake"))) as server:
        ran = run("--base-url", server.url)

    commands = [line for line in ran.err.splitlines() if line.startswith("::")]
    assert len(commands) == 1
    assert commands[0].startswith(
        "::error title=claude-ping%3A request (exit code 9)::"
        "400 x: 100%25 wrong, %250A::error::fake%0A"
    )


def test_quiet_in_github_actions_is_that_one_line(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with serving(answer(401, b"")) as server:
        ran = run("-q", "--base-url", server.url)

    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("::error title=claude-ping%3A auth (exit code 4)::401 ")


EVIL = "::add-mask::x\n ::error::y\r\n##[error]z"


@pytest.mark.parametrize("option", [[], ["--json"], ["--raw"], ["-v"], ["-q"]])
@pytest.mark.parametrize("status", [200, 400, 502])
def test_the_network_can_start_no_workflow_command(
    run: Run, key: str, monkeypatch: Any, option: list[str], status: int
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    content = [{"type": EVIL, "text": EVIL, "name": EVIL}, {"type": "text", "text": EVIL}]
    bodies = [
        {**MESSAGE, "content": content, "stop_reason": EVIL},
        error(EVIL, EVIL),
        EVIL.encode(),
    ]
    for body in bodies:
        with serving(answer(status, body, {"server": "::error::x##[error]"})) as server:
            ran = run("--base-url", server.url, "--retries", "0", *option)
        lines = (ran.out + ran.err).splitlines()
        commands = [line for line in lines if line.strip().startswith("::")]
        assert all(line.startswith("::error title=claude-ping") for line in commands)
        assert len(commands) == (ran.code != 0)
        assert "##[" not in ran.out + ran.err


def test_the_body_in_the_report_is_unchanged_by_that(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    body = {**MESSAGE, "model": EVIL}
    with serving(answer(200, body)) as server:
        report = report_of(run, "--base-url", server.url)

    assert report["response"]["body"] == body


def test_the_summary_of_the_step_gets_a_table(run: Run, monkeypatch: Any, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    run("--simulate", "ok")
    run("--simulate", "401")

    text = summary.read_text("utf-8")
    assert text.startswith(
        "before\n| ✓ | claude-ping (simulated) |\n|---|---|\n| result | 200 OK |\n"
    )
    assert "| exit code | 4 auth |" in text
    assert "| request-id | req\\_011CS1mu1atedAnswer0001 |" in text


def test_a_summary_that_cannot_be_written_is_a_warning(
    run: Run, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))

    ran = run("--simulate", "ok")

    assert ran.code == 0
    assert f"warning: cannot write GITHUB_STEP_SUMMARY, {tmp_path}: Is a directory" in ran.err


def test_escapes_of_the_network_are_visible_in_one_line_too(
    run: Run, key: str, monkeypatch: Any, tmp_path: Path
) -> None:
    with serving(answer(400, error("x", "\x1b[2J\x07 \ud800"))) as server:
        quiet = run("-q", "--base-url", server.url)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "s.md"))
        marked = run("--base-url", server.url)

    assert "\x1b" not in quiet.err + marked.err + (tmp_path / "s.md").read_text("utf-8")
    assert "\\x1b[2J" in quiet.err


def test_a_secret_that_is_a_word_of_the_report_leaves_its_keys(run: Run, key: str) -> None:
    body = {**MESSAGE, "content": [{"type": "text", "text": "request", "request": 1}]}
    with serving(answer(200, body)) as server:
        report = report_of(run, "--base-url", server.url, "-H", "x-secret-token: request")

    assert report["response"]["body"]["content"][0] == {"type": "text", "text": "…", "…": 1}


def test_a_number_without_bound_is_no_json(run: Run, key: str) -> None:
    with serving(answer(200, b'{"type": "message", "x": 1e999}')) as server:
        assert report_of(run, "--base-url", server.url)["class"] == "protocol"


def test_a_huge_error_is_diagnosed_in_no_time(run: Run, key: str) -> None:
    with serving(answer(400, b"no " * (8 << 20)), answer(400, b" " * (24 << 20) + b"x")) as server:
        started = time.monotonic()
        long, blank = run("--base-url", server.url), run("--base-url", server.url)

    assert time.monotonic() - started < 5
    assert long.code == blank.code == 9


def test_many_blank_lines_are_printed_in_no_time(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with serving(
        answer(200, {**MESSAGE, "content": [{"type": "text", "text": "\n" * 50_000}]})
    ) as server:
        started = time.monotonic()
        run("--base-url", server.url)

    assert time.monotonic() - started < 5


def test_text_of_the_network_is_no_markdown() -> None:
    failure = Failure(Fault.HTTP, "x", Received(400, "", {}, b""))
    headline = "400 <img src=x> | [a](b) `c` *d* & e\nf"
    report = Report(failure, Diagnosis(ExitCode.REQUEST, headline))

    assert machine.as_markdown(report).splitlines()[2] == (
        r"| result | 400 \<img src=x\> \| \[a\]\(b\) \`c\` \*d\* &amp; e f |"
    )


# The dry run.


def test_a_dry_run_sends_nothing_and_shows_no_key(run: Run, key: str) -> None:
    with serving(answer()) as server:
        ran = run("-n", "--base-url", server.url, "hello")

    assert ran.code == 0
    assert server.requests == []
    assert ran.out.startswith(f"curl -sS -X POST {server.url}/v1/messages \\\n")
    assert '-H "x-api-key: $ANTHROPIC_API_KEY"' in ran.out
    assert key not in ran.out


def test_a_dry_run_makes_every_local_check(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://h:1")

    assert run("-n").code == 3
    assert run("-n", "--base-url", "ftp://x").code == 3


def test_a_dry_run_as_json_has_a_request_and_no_response(run: Run, key: str) -> None:
    report = report_of(run, "-n", "hello")

    assert report["headline"] == "dry run: nothing was sent"
    assert report["request"]["body"]["messages"] == [{"role": "user", "content": "hello"}]
    assert report["response"] is None
    assert report["attempts"] == 0


def test_no_header_of_a_curl_command_is_run_by_a_shell() -> None:
    headers: dict[str, str | Secret] = {
        "x-`id`-token": Secret("v"),
        "authorization": Secret("$(id) x"),
        "x-a-token": Secret("Basic abc"),
    }

    words = machine.as_curl(Request("GET", "https://h", headers), None).split(" \\\n  ")

    assert words[1:] == [
        """-H 'x-`id`-token: '"$X__ID__TOKEN\"""",
        '-H "authorization: $ANTHROPIC_AUTH_TOKEN"',
        '-H "x-a-token: Basic $X_A_TOKEN"',
    ]


def test_a_dry_run_says_where_the_key_must_come_from(run: Run) -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n", "utf-8")

    assert "export it first (it is from .env (line 1))" in run("-n").err


def test_the_curl_command_of_an_ipv6_address_is_no_glob() -> None:
    request = Request("GET", "http://[::1]:80/v1/models", {})

    assert machine.as_curl(request, None) == "curl -sS --globoff -X GET 'http://[::1]:80/v1/models'"


HOSTILE = [
    'it\'s "quoted"',
    "two\nlines\r\n",
    "$HOME `id` $(id) \\ \\n !! %s",
    "emoji 🦊 and ü",
    "@/etc/passwd",
    "'; touch /tmp/x; '",
    "\x01\x7f",
]
CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="there is no curl here")
@pytest.mark.parametrize("prompt", HOSTILE)
def test_the_curl_command_sends_what_the_program_would(run: Run, key: str, prompt: str) -> None:
    options = [
        "-s",
        prompt,
        "-H",
        "x-empty:",
        "-H",
        "x-odd: it's; $HOME `id`",
        "-H",
        "x-a-token: t",
    ]
    with serving(answer()) as server:
        run("--base-url", server.url, *options, prompt)
        command = run("--base-url", server.url, *options, "-n", prompt).out
        environ = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": key, "X_A_TOKEN": "t"}
        subprocess.run(["sh", "-c", command], env=environ, check=True, capture_output=True)

    ours, theirs = (split(request) for request in server.requests)
    assert theirs[0] == ours[0]
    assert {name: theirs[1].get(name) for name in ours[1]} == ours[1]
    assert theirs[2] == ours[2]


@pytest.mark.skipif(CURL is None, reason="there is no curl here")
def test_the_curl_command_of_a_token_sends_it(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "gateway-token")
    with serving(answer()) as server:
        command = run("--base-url", server.url, "-n").out
        environ = {"PATH": os.environ["PATH"], "ANTHROPIC_AUTH_TOKEN": "gateway-token"}
        subprocess.run(["sh", "-c", command], env=environ, check=True, capture_output=True)

    assert split(server.requests[0])[1]["authorization"] == "Bearer gateway-token"


def split(request: bytes) -> tuple[str, dict[str, str], Any]:
    """The request line, the headers that are not the client's own affair, the JSON."""
    head, _, body = request.decode().partition("\r\n\r\n")
    line, *lines = head.split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    for own in ("accept", "accept-encoding", "connection"):
        headers.pop(own, None)
    return line, headers, json.loads(body)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text("abc'\"$`\\ ;&|<>(){}*?!#~"))
def test_a_shell_reads_back_what_was_quoted(prompt: str, value: str) -> None:
    body = {"messages": [{"role": "user", "content": prompt}]}
    headers: dict[str, str | Secret] = {"x-api-key": Secret(KEY), "x-odd": value}
    command = machine.as_curl(
        Request("POST", "https://h/v1/messages", headers, body), json.dumps(body).encode()
    )

    words = shlex.split(command.replace(" \\\n", " "))

    assert words[:5] == ["curl", "-sS", "-X", "POST", "https://h/v1/messages"]
    assert words[5:9] == [
        "-H",
        "x-api-key: $ANTHROPIC_API_KEY",
        "-H",
        f"x-odd: {value}" if value else "x-odd;",
    ]
    assert json.loads(words[10]) == body
    assert KEY not in command
