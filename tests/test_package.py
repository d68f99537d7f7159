"""The program as it is installed: real processes, real signals, real pipes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import KEY
from servers import answer, hang, serving

from claude_ping import __version__, settings, simulator
from claude_ping.records import ExitCode, PingError
from claude_ping.settings import Options

PROGRAM = [sys.executable, "-m", "claude_ping"]


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


def test_closed_standard_streams_change_nothing() -> None:
    with serving(answer(401, b"")) as server:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" --base-url {server.url} >&- 2>&-', "sh", *PROGRAM],
            env=environment(),
            check=False,
        )

    assert done.returncode == 4


def interrupted(url: str, until: threading.Event) -> tuple[int, bytes, bytes]:
    """Run the program, press Ctrl-C when the event has come."""
    process = subprocess.Popen(
        [*PROGRAM, "--base-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert until.wait(10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


def test_ctrl_c_while_waiting_for_the_answer_ends_at_once() -> None:
    asked = threading.Event()

    def wait(connection: socket.socket, server: object) -> None:
        asked.set()
        hang(connection, server)  # type: ignore[arg-type]

    with serving(wait) as server:
        assert interrupted(server.url, asked) == (130, b"", b"interrupted\n")


def test_ctrl_c_within_a_wait_before_a_retry_ends_at_once() -> None:
    asked = threading.Event()

    def refuse(connection: socket.socket, _server: object) -> None:
        connection.sendall(answer(529, b"", {"retry-after": "30"}))
        threading.Timer(0.3, asked.set).start()

    with serving(refuse) as server:
        code, out, err = interrupted(server.url, asked)

    assert (code, out) == (130, b"")
    assert err.decode().splitlines() == ["529: waiting 30.0 s, then attempt 2 of 3", "interrupted"]


ROOT = Path(__file__).parents[1]


def test_the_example_file_holds_every_variable_and_no_usable_key() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")

    named = re.findall(r"(?m)^(?:# )?(ANTHROPIC_\w+)=", example)
    assert named == list(settings.VARIABLES)
    layer = settings.read_env_file(str(ROOT / ".env.example"), ".env.example")
    with pytest.raises(PingError, match="is a placeholder"):
        settings.resolve(Options(), [layer], {})


def test_the_readme_names_every_variable_exit_code_and_scenario() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")

    for variable in settings.VARIABLES:
        assert f"| `{variable}` |" in readme
    for code in ExitCode:
        if code is not ExitCode.INTERRUPTED:
            assert f"| {code.value} | `{code.name.lower()}` |" in readme
    for scenario in simulator.SCENARIOS:
        assert f"`{scenario}`" in readme
