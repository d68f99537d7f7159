"""A runner's log: failures are marked there, and nothing from outside starts a command."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import PROGRAM, Ran, Run, environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import MESSAGE, Answer, RawServer, answer, error, serving

RUNNERS = {"GitHub": ("GITHUB_ACTIONS", "true"), "Azure": ("TF_BUILD", "True")}
COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]+)::([^\r\n]+)")


def commands(ran: Ran) -> list[str]:
    """The program's own commands; nothing else may look like one."""
    shown = ran.out + "\n" + ran.err
    assert "##[" not in shown
    assert "##vso[" not in shown
    lines = [line for line in re.split("[\r\n]", shown) if line.lstrip().startswith("::")]
    assert [line for line in lines if not COMMAND.fullmatch(line)] == []
    return lines


def streamed(text: str) -> bytes:
    """A stream that brings one character at a time."""
    block = {"type": "text", "text": ""}
    delta = {"type": "content_block_delta", "index": 0}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**MESSAGE, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(delta | {"delta": {"type": "text_delta", "text": letter}} for letter in text),
        {"type": "message_stop"},
    ]
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return answer(200, data.encode(), {"content-type": "text/event-stream"})


def headers(text: str) -> bytes:
    return answer(401, b"", dict.fromkeys(["server", "request-id"], re.sub("[\r\n]", "", text)))


PLACES: dict[str, Callable[[str], bytes]] = {
    "a reply": lambda s: answer(200, {**MESSAGE, "content": [{"type": "text", "text": s}, {s: s}]}),
    "its fields": lambda s: answer(200, {**MESSAGE, "model": s, "stop_reason": s, "usage": {s: s}}),
    "a stream": streamed,
    "an error": lambda s: answer(400, error(s, s, error_code=s)),
    "what is tried again": lambda s: answer(529, error(s, s), {"retry-after-ms": "1"}),
    "a page": lambda s: answer(502, s.encode(), {"retry-after-ms": "1"}),
    "headers": headers,
    "models": lambda s: answer(200, {"data": [{"type": "model", "id": s, "display_name": s}]}),
}
FORMS = [[], ["-v"], ["--json"], ["--raw"], ["-q"], ["--models"], ["--models", "-v"]]
FORMS += [["--stream"], ["--stream", "-v"], ["--stream", "--json"], ["--stream", "--raw"]]
EVIL = ["::error::x", "::add-mask::y", "##[error]z", "##vso[task.complete]", "::", "#", "[", "##"]
EVIL += ["\n", "\r", "\r\n", " ", "\t", "\xa0", "\u3000", "\x1b", "\x85", "\u2028", "│", "x"]


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(RUNNERS)), st.lists(st.sampled_from(EVIL)).map("".join))
def test_nothing_received_starts_a_command(
    run: Run, monkeypatch: Any, place: str, runner: str, text: str
) -> None:
    with monkeypatch.context() as here, serving(PLACES[place](text)) as server:
        here.setenv(*RUNNERS[runner])
        for form in FORMS:
            ran = run(*form, "--base-url", server.url, "--retries", "1")
            assert len(commands(ran)) == (ran.code != 0 and runner == "GitHub")


TEXT = "::error::x\n ::add-mask::y\r##[error]z ##vso[task.complete]"
LOCAL: dict[str, list[str]] = {
    "a model": ["-m", TEXT],
    "a prompt": ["-n", TEXT],
    "an option": [f"--{TEXT}"],
    "a value": ["--timeout", TEXT],
    "a file that is missing": ["--env-file", TEXT],
    "a file": ["--env-file", "odd.env"],
    "a header": ["-v", "-H", f"user-agent: {TEXT}"],
    "a URL": ["--base-url", f"http://127.0.0.1:1/{TEXT}"],
}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("case", LOCAL)
def test_nothing_set_starts_a_command(run: Run, monkeypatch: Any, runner: str, case: str) -> None:
    monkeypatch.setenv(*RUNNERS[runner])
    Path("odd.env").write_text(f"{TEXT}\nANTHROPIC_API_KEY={TEXT!r}\n", "utf-8")
    with serving(answer(404, error("not_found_error", "x"))) as server:
        ran = run("--base-url", server.url, "--retries", "0", *LOCAL[case])

    assert len(commands(ran)) == (ran.code != 0 and runner == "GitHub")


def test_what_programs_read_stays_exact(run: Run, key: str, monkeypatch: Any) -> None:
    body = {**MESSAGE, "model": TEXT, TEXT: [TEXT]}
    with serving(answer(200, TEXT.encode()), answer(200, body), answer(200, b"{}")) as server:
        elsewhere = run("--raw", "--base-url", server.url)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        report = run("--json", "--base-url", server.url).report
        harmless = run("--raw", "--base-url", server.url)

    assert elsewhere.out == TEXT
    assert report["response"]["body"] == body
    assert harmless.out == "{}"


FAILURES: dict[str, tuple[Answer, str, int, str]] = {
    "auth": (answer(401, error("x", "100% wrong\r\n::error::fake, a: b")), "", 4, "error"),
    "account": (answer(402, error("x", "no money")), "", 7, "error"),
    "request": (answer(400, error("x", "100%0A wrong")), "", 9, "error"),
    "protocol": (answer(200, b"<html>"), "", 10, "error"),
    "rate": (answer(429, error("rate_limit_error", "slow")), "--retries=0", 8, "warning"),
    "server": (answer(529, error("overloaded_error", "x")), "--retries=0", 5, "warning"),
    "network": (b"", "--retries=0", 6, "warning"),
    "usage": (b"", "--modle", 2, "error"),
    "config": (b"", "--env-file=missing", 3, "error"),
}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("form", [[], ["-q"], ["-v"], ["--json"], ["--raw"]], ids=str)
@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_marks_the_step_once(
    run: Run, monkeypatch: Any, case: str, form: list[str]
) -> None:
    sent, option, code, level = FAILURES[case]
    with serving(sent) as server:
        options = ["--base-url", server.url, *option.split()]
        elsewhere = run(*options)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        ran = run(*form, *options)

    (line,) = commands(ran)
    command = COMMAND.fullmatch(line)
    assert command
    assert (ran.code, command[1]) == (code, level)
    assert line in ran.err
    assert not re.search("%(?!25|0A|0D)", command[3])
    message = command[3].replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    assert elsewhere.err.splitlines()[0].removeprefix("✗ ") in message
    assert commands(elsewhere) == []


def test_an_interruption_is_not_marked() -> None:
    asked = threading.Event()

    def hang(_connection: socket.socket, server: RawServer) -> None:
        asked.set()
        server.over.wait(30)

    with serving(hang) as server:
        command = [*PROGRAM, "--base-url", server.url]
        environ = environment(GITHUB_ACTIONS="true")
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environ) as process:
            assert asked.wait(10)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert b"::" not in err
