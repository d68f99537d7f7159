"""The program as it is installed: real processes, real signals, real pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import KEY, PROGRAM
from servers import Answer, answer, drip, hang, serving

from claude_ping import __version__


def environment(**variables: str) -> dict[str, str]:
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, **measured, **variables}


def test_python_dash_m_and_the_entry_point_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("claude-ping")
    commands = [PROGRAM, [str(script)]] if script.exists() else [PROGRAM]

    for command in commands:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True, env=environment()
        )
        assert done.stdout == f"claude-ping {__version__}\n"


def test_a_reader_that_goes_away_changes_nothing() -> None:
    with serving(answer()) as server:
        process = subprocess.Popen(
            [*PROGRAM, "--base-url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()

        assert process.wait(10) == 0
        assert err == b""


def test_a_full_disk_is_no_success_and_hides_no_failure() -> None:
    def exit_code(redirection: str, *argv: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *argv],
            env=environment(),
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
        return done.returncode, done.stderr

    code, err = exit_code(">/dev/full", "--simulate", "ok")
    assert code == 1
    assert "✗ cannot write to standard output: No space left on device" in err
    assert exit_code("2>/dev/full", "--simulate", "401")[0] == 4


def test_a_key_that_is_not_text_is_refused() -> None:
    environ = {**environment(), "ANTHROPIC_API_KEY": "sk-\udcff"}
    done = subprocess.run(PROGRAM, env=environ, capture_output=True, check=False)

    assert done.returncode == 3
    assert b"a non-ASCII character (U+DCFF) at position 4" in done.stderr


def test_closed_standard_streams_change_nothing() -> None:
    with serving(answer(401, b"")) as server:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" --base-url {server.url} >&- 2>&-', "sh", *PROGRAM],
            env=environment(),
            check=False,
        )

    assert done.returncode == 4


# Runs the program with a name look-up that hangs, and says when it does.
HANGING_LOOK_UP = [
    sys.executable,
    "-c",
    """
import socket, sys, time
def hang(*_, **__):
    print("asked", flush=True)
    time.sleep(60)
socket.getaddrinfo = hang
from claude_ping.__main__ import main
main()
""",
]


def interrupted(command: list[str], until: Callable[[subprocess.Popen[bytes]], object]) -> str:
    """Run the command, press Ctrl-C when `until` returns, and return what it printed on stderr."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    until(process)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert time.monotonic() - started < 3
    return err.decode()


def test_ctrl_c_while_the_program_is_loaded_is_one_line() -> None:
    code = """
from claude_ping import __main__, cli
def interrupt():
    raise KeyboardInterrupt
cli.main = interrupt
__main__.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")


def test_ctrl_c_within_a_name_look_up_ends_at_once() -> None:
    def asked(process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        process.stdout.readline()

    assert interrupted(HANGING_LOOK_UP, asked) == "interrupted\n"


SLOW: dict[str, tuple[Answer, str]] = {
    "never answers": (hang, ""),
    "drips its headers": (drip(b"HTTP/1.1 200 OK\r\n" * 99), ""),
    "drips its body": (drip(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 999), ""),
    "wants a long wait": (
        answer(529, b"", {"retry-after": "30"}),
        "529: waiting 30.0 s, then attempt 2 of 3\n",
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_ctrl_c_ends_at_once_when_the_server(name: str) -> None:
    slow, announced = SLOW[name]
    with serving(slow) as server:

        def asked(process: subprocess.Popen[bytes]) -> None:
            assert process.stderr
            if announced:
                assert process.stderr.readline().decode() == announced
            while not server.requests:
                time.sleep(0.01)

        err = interrupted([*PROGRAM, "--base-url", server.url], asked)

    assert err == "interrupted\n"
