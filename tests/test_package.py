"""The program as it is installed: real processes, real signals, real pipes, a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import PROGRAM, Run, environment
from servers import MESSAGE, RawServer, answer, serving

from claude_ping import __version__

Process = subprocess.Popen[bytes]
NOWHERE = ["--base-url", "http://127.0.0.1:1"]


@contextlib.contextmanager
def started(*argv: str, program: Sequence[str] = PROGRAM, **options: Any) -> Iterator[Process]:
    """Run a process that is killed rather than waited for without end."""
    options = {"stdin": subprocess.DEVNULL, "env": environment(), "bufsize": 0} | options
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with subprocess.Popen[bytes]([*program, *argv], **options) as process:
        watchdog = threading.Timer(20, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def finished(*argv: str, **options: Any) -> tuple[int, bytes, bytes]:
    with started(*argv, **options) as process:
        out, err = process.communicate()
    assert b"Traceback" not in err
    return process.returncode, out, err


def redirected(redirection: str, *argv: str) -> tuple[int, bytes, bytes]:
    return finished(*argv, program=["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM])


def interrupt(process: Process) -> None:
    """Press Ctrl-C: the end comes at once, and one line tells."""
    process.send_signal(signal.SIGINT)
    assert process.wait(1) == 130
    if process.stderr:
        assert [line[:11] for line in process.stderr.read().splitlines()] == [b"interrupted"]


# What has come before the rest drips.
SLOW: dict[str, bytes] = {
    "drips its first line": b"",
    "drips its headers": b"HTTP/1.1 200 OK\r\ncontent-",
    "drips its body": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("case", SLOW)
def test_ctrl_c_ends_at_once_when_a_server(case: str) -> None:
    begun = threading.Event()

    def respond(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(SLOW[case])
        begun.set()
        while not server.over.wait(0.02):
            connection.sendall(b" ")

    with serving(respond) as server, started("--base-url", server.url) as process:
        assert begun.wait(10)
        interrupt(process)


def test_ctrl_c_ends_a_wait_for_the_next_attempt() -> None:
    busy = answer(529, b"", {"retry-after": "30"})
    with serving(busy) as server, started("--base-url", server.url) as process:
        assert process.stderr
        assert b"529" in process.stderr.readline()
        interrupt(process)


# A name lookup hangs and says so; Ctrl-C is pressed while that module is loaded.
PYTHON = """
import runpy, signal, socket, sys, time
class Finder:
    def find_spec(name, *_):
        if name == MODULE:
            signal.raise_signal(signal.SIGINT)
def hang(*_, **__):
    print("asked", flush=True)
    time.sleep(60)
sys.meta_path.insert(0, Finder)
socket.getaddrinfo = hang
runpy.run_module("claude_ping", run_name="__main__", alter_sys=True)
"""


def hooked(module: str = "") -> list[str]:
    return [sys.executable, "-c", PYTHON.replace("MODULE", repr(module))]


def test_ctrl_c_ends_a_name_lookup() -> None:
    with started(program=hooked()) as process:
        assert process.stdout
        assert process.stdout.readline() == b"asked\n"
        interrupt(process)


@pytest.mark.parametrize("module", ["claude_ping.cli", "argparse", "urllib.request"])
def test_ctrl_c_while_the_program_is_loaded_is_one_line(module: str) -> None:
    code, out, err = finished(program=hooked(module))

    assert code == 130
    assert out in (b"", b"asked\n")  # the look-up may begin before the signal is handled
    assert [line[:11] for line in err.splitlines()] == [b"interrupted"]


@pytest.mark.parametrize("option", ["--env-file", "--payload"])
def test_ctrl_c_ends_the_reading_of_a_fifo(option: str) -> None:
    os.mkfifo("fifo")
    with started("-n", option, "fifo") as process, contextlib.ExitStack() as stack:
        opened = False
        while not opened and process.poll() is None:
            with contextlib.suppress(OSError):  # nobody reads yet
                stack.callback(os.close, os.open("fifo", os.O_WRONLY | os.O_NONBLOCK))
                opened = True
        assert opened
        interrupt(process)


@pytest.mark.parametrize("argv", [["-"], ["--payload", "-"]], ids=" ".join)
def test_ctrl_c_ends_the_reading_of_an_endless_input(argv: list[str]) -> None:
    with started("-n", *argv, stdin=subprocess.PIPE) as process:
        assert process.stdin
        # More than a pipe holds: some of it has been read.
        process.stdin.write(b" " * 300_000)
        interrupt(process)


LONG = "word " * 100_000
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": LONG}},
]
STREAM = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
BIG: dict[str, bytes] = {
    "--json": answer(200, {**MESSAGE, "x": LONG}),
    "--raw": answer(200, {**MESSAGE, "x": LONG}),
    "--stream": answer(200, STREAM.encode(), {"content-type": "text/event-stream"}),
}


@pytest.mark.parametrize("option", BIG)
@pytest.mark.parametrize("err", [subprocess.PIPE, subprocess.STDOUT], ids=["2>x", "2>&1"])
def test_ctrl_c_ends_the_writing_to_a_reader_that_does_not_read(option: str, err: int) -> None:
    with (
        serving(BIG[option]) as server,
        started(option, "--base-url", server.url, stderr=err) as process,
    ):
        assert process.stdout
        held = 0
        while held < 60_000 and process.poll() is None:  # a pipe tells nobody that it is full
            (held,) = struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"held"))
        interrupt(process)


ENDLESS: dict[str, list[str]] = {
    "a FIFO for .env": ["--env-file", "fifo"],
    "a FIFO for the payload": ["--payload", "fifo"],
    "a pipe for the prompt": ["-"],
    "a pipe for the payload": ["--payload", "-"],
    "zeros for .env": ["--env-file", "/dev/zero"],
    "zeros for the payload": ["--payload", "/dev/zero"],
}


@pytest.mark.parametrize("case", ENDLESS)
def test_the_timeout_holds_for_what_is_read(case: str) -> None:
    os.mkfifo("fifo")
    with started(*NOWHERE, "--timeout", "0.5", *ENDLESS[case], stdin=subprocess.PIPE) as process:
        # Half a second for Python itself to start.
        assert process.wait(2) in (2, 3, 6)
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()


def test_the_timeout_holds_for_a_name_lookup() -> None:
    with started("--timeout", "0.5", program=hooked()) as process:
        assert process.wait(2) == 6


@pytest.mark.parametrize(("status", "code"), [(200, 0), (401, 4)])
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_that_goes_away_changes_nothing(status: int, code: int, closed: str) -> None:
    big = answer(status, {**MESSAGE, "x": LONG})
    with serving(big) as server, started("--raw", "--base-url", server.url) as process:
        getattr(process, closed).close()
        setattr(process, closed, None)
        left = b"".join(filter(None, process.communicate()))

    assert process.returncode == code
    assert b"Traceback" not in left
    assert b"Broken" not in left


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
@pytest.mark.parametrize("form", ["", "--json", "--raw", "--stream", "-n", "--models", "-V", "-h"])
def test_a_full_disk_is_no_success(form: str) -> None:
    simulated = [] if form == "-n" else ["--simulate", "ok"]
    code, _, err = redirected(">/dev/full", *simulated, *form.split())

    assert code != 0
    assert err


REDIRECTIONS: dict[str, tuple[int, int]] = {
    "2>/dev/full": (401, 4),
    ">&-": (200, 0),
    "--raw >&-": (200, 0),
    ">&- 2>&-": (401, 4),
    "<&- >&- 2>&-": (200, 0),
    "- <&-": (200, 2),
}


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_a_stream_that_takes_nothing_changes_nothing(redirection: str) -> None:
    status, code = REDIRECTIONS[redirection]
    with serving(answer(status)) as server:
        assert redirected(redirection, "--base-url", server.url)[0] == code


def test_a_key_that_is_no_text_is_refused() -> None:
    code, _, err = finished(env=environment(ANTHROPIC_API_KEY="sk-\udcff"))

    assert code == 3
    assert b"position 4" in err


def test_the_module_and_the_entry_point_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("claude-ping")
    for program in [PROGRAM, [str(script)]] if script.exists() else [PROGRAM]:
        done = finished("--version", program=program)
        assert done == (0, f"claude-ping {__version__}\n".encode(), b"")


TERMINALS: dict[str, dict[str, str]] = {
    "a terminal": {"TERM": "xterm"},
    "a dumb terminal": {"TERM": "dumb"},
    "NO_COLOR": {"TERM": "xterm", "NO_COLOR": "1"},
    "a pipe": {},
    "FORCE_COLOR": {"FORCE_COLOR": "1"},
}
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@contextlib.contextmanager
def shown(url: str, variables: dict[str, str], *argv: str) -> Iterator[int]:
    """Run once, on a terminal where TERM is set; yield the end to read from."""
    leader, follower = pty.openpty() if "TERM" in variables else os.pipe()
    environ = environment(**variables)
    with started("--base-url", url, *argv, stdout=follower, stderr=follower, env=environ):
        os.close(follower)
        yield leader
    os.close(leader)


def read(end: int) -> str:
    data = b""
    with contextlib.suppress(OSError):  # the other end of a terminal is closed
        while chunk := os.read(end, 65536):
            data += chunk
    return data.decode()


def test_progress_and_colours_are_for_terminals_that_take_them() -> None:
    def late(connection: socket.socket, server: RawServer) -> None:
        server.over.wait(1.6)
        connection.sendall(answer())

    with serving(late) as server, contextlib.ExitStack() as at_once:
        runs = [at_once.enter_context(shown(server.url, set_)) for set_ in TERMINALS.values()]
        texts = dict(zip(TERMINALS, map(read, runs), strict=True))

    progress, erased, report = COLOUR.sub("", texts["a terminal"]).rpartition("\x1b[K")
    assert erased
    assert re.search(r"\b1(\.\d)? s", progress)
    assert "✓ 200" in report
    assert "\r" not in texts["a pipe"] + texts["FORCE_COLOR"]
    assert "\x1b" not in texts["a pipe"] + texts["a dumb terminal"]
    coloured = [case for case, text in texts.items() if COLOUR.search(text)]
    assert coloured == ["a terminal", "FORCE_COLOR"]


def test_a_raw_body_does_not_steer_a_terminal() -> None:
    with (
        serving(answer(200, b"a\x1b[2Jb")) as server,
        shown(server.url, TERMINALS["NO_COLOR"], "--raw") as end,
    ):
        text = read(end)

    assert "\x1b[2J" not in text
    assert "a\\x1b[2Jb" in text


BODIES: dict[str, bytes] = {
    "nested 700 deep": b"[" * 700 + b"]" * 700,
    "nested 100,000 deep": b"[" * 100_000,
    "a number of 100,000 digits": b"9" * 100_000,
    "an exponent without bound": b"1e999999999",
    "lone surrogates": b'[{"type": "text", "text": "\\ud800x\\udc00"}]',
}
FORMS = [[], ["-v"], ["--json"], ["--raw"], ["--models"], ["--stream"]]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("case", BODIES)
def test_any_body_gets_a_verdict(run: Run, key: str, case: str, status: int) -> None:
    body = b'{"type": "message", "content": %b, "error": %b}' % (BODIES[case], BODIES[case])
    event = b"event: message_start\ndata: " + body + b"\n\n"
    stream = answer(status, event, {"content-type": "text/event-stream"})
    for form in FORMS:
        with serving(stream if "--stream" in form else answer(status, body)) as server:
            ran = run(*form, "--base-url", server.url, "--retries", "0")
        assert ran.code in (0, 6, 9, 10)
        assert "Traceback" not in ran.err
