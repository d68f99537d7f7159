"""What every test gets: an empty environment, an empty folder, and no way out to the network."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from helpers import GOLDEN, KEY, Ran

from claude_ping import __main__ as program

# Drawing from all of Unicode is slow the first time. CI draws the same examples every time.
hypothesis.settings.register_profile(
    "ping",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.register_profile(  # pytest --hypothesis-profile=thorough
    "thorough", hypothesis.settings.get_profile("ping"), derandomize=False, max_examples=5000
)
hypothesis.settings.load_profile("ping")

# What starts tests in the background may have them ignore it, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_OURS = re.compile(
    r"(?i)(anthropic|claude|github|gitlab|tf_build|ci$|ssl_cert|requests_ca|curl_ca|node_extra)_?.*"
    r"|.*_proxy|no_color|force_color|term"
)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in filter(_OURS.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    look_up = socket.getaddrinfo

    def look_up_loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1"):
            pytest.fail(f"a test looked up {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_loopback)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with tests/golden/NAME.txt, or rewrite the file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        # Ports, durations and the time of day are all that may differ between two runs.
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
        text = re.sub(r"\d+\.\d+ s\b", "N.NN s", text)
        text = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", "DATE", text)
        if request.config.getoption("--update-golden"):
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8")

    return compare


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A good-looking key in the environment."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    return KEY


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """The whole program, in process."""

    def run(*argv: str) -> Ran:
        code = program.run(list(argv))
        return Ran(code, *capsys.readouterr())

    return run
