"""The curl command of a dry run, run by a real shell and a real curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import KEY, PROGRAM, Ran, Run, environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import answer, read_request, serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")

# What each client says of the connection, not of the request.
OWN = {"accept", "accept-encoding", "connection", "content-length"}


def parts(request: bytes) -> tuple[str, list[tuple[str, str]], Any]:
    """The request line, the headers that matter, the body as JSON, with numbers to the letter."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]
    value = json.loads(body, parse_float=str, parse_int=str) if body else None
    return line, sorted(pair for pair in pairs if pair[0] not in OWN), value


def run_by_shell(command: str, **variables: str) -> None:
    """As a script: one argument of `sh -c` holds 128 KiB at most."""
    script = Path("command.sh")
    script.write_text(command, "utf-8")
    environ = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, **variables}
    subprocess.run(["sh", str(script)], env=environ, check=True, capture_output=True, timeout=20)


def assert_same(run: Run, requests: list[bytes], *argv: str, **variables: str) -> Ran:
    """The printed command sends what the program sends; the dry run itself sends nothing."""
    requests.clear()
    run("--retries", "0", *argv)
    dry = run("-n", "--retries", "0", *argv)
    assert (dry.code, len(requests)) == (0, 1)
    assert KEY not in dry.out + dry.err

    run_by_shell(dry.out, **variables)

    ours, theirs = map(parts, requests)
    assert theirs == ours
    return dry


@contextmanager
def answering_ipv6() -> Iterator[tuple[str, list[bytes]]]:
    requests: list[bytes] = []
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:

        def respond() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    requests.append(read_request(connection))
                    connection.sendall(answer())

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        yield f"http://[::1]:{listener.getsockname()[1]}", requests
        thread.join(5)


CASES: dict[str, list[str]] = {
    "a plain prompt": ["hello"],
    "quotes": ["it's \"quoted\" and '\"'\"'"],
    "line breaks": ["two\nlines\r\nand\ttabs\n\n"],
    "what a shell expands": ["$HOME ${HOME} `id` $(id) ~ * ? [a-z] {a,b} !! !x #c & ; | < > \\"],
    "percent signs": ["%s %d %0A %% 100%"],
    "unicode": ["Grüße 🦊 日本 \u202e \x85 \u2028"],
    "control characters": ["\x01\x1b[2J\x7f"],
    "what curl reads files for": ["@/etc/passwd", "-s", "@-", "-m", "<x"],
    "an end of a here-document": ["\nEOF\nid\n", "-s", "JSON\nEND\nBODY\n.\n"],
    "a leading hyphen": ["--", "-d @x"],
    "200 KB": ["it's 💡 " * 20_000],
    "a stream": ["--stream", "hi"],
    "a list of models": ["--models"],
    "a temperature": ["--temperature", "0.70", "--max-tokens", "7", "hi"],
    "the SDK's way": ["--sdk", "hi"],
    "an empty header": ["-H", "x-empty:", "hi"],
    "odd headers": ["-H", 'anthropic-beta: it\'s; "$HOME" `id` \\ % @x', "-H", "user-agent: a  b"],
    "a header of ours, replaced": ["-H", "anthropic-version: 2026-10-21", "hi"],
    "a payload": ["--payload", "p.json"],
    "a payload with an option": ["--payload", "p.json", "--max-tokens", "9"],
    "a path with dots": ["--base-url", "URL/a/../b/./c/..", "hi"],
    "a path of patterns": ["--base-url", "URL/{a,b}/[1-3]", "hi"],
    "an odd path": ["--base-url", "URL//%7Bx%20y/it's&$(id);b=c,d!~*", "hi"],
}
PAYLOAD = """{ "model" : "m",\r\n\t"max_tokens":1.0e1, "x":"\\u00e9é\\/\\u0000 it's 1E400 @",
  "messages": [ {"role":"user","content":"hi"}] , "n": 12345678901234567890123 }\n\n"""


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("case", CASES)
def test_the_command_sends_what_the_program_sends(run: Run, case: str) -> None:
    Path("p.json").write_bytes(PAYLOAD.encode())
    with serving(answer()) as server:
        argv = [word.replace("URL", server.url) for word in CASES[case]]
        dry = assert_same(run, server.requests, "--base-url", server.url, *argv)

    assert "$ANTHROPIC_API_KEY" in dry.out


def test_an_ipv6_address_is_no_pattern(run: Run, key: str) -> None:
    with answering_ipv6() as (url, requests):
        assert_same(run, requests, "--base-url", url, "hi")


def test_other_secrets_are_variables_too(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "gateway-word")
    odd = "it's $HOME `id` \\word"
    with serving(answer()) as server:
        argv = ["--base-url", server.url, "-H", f"x-gateway-token: {odd}", "hi"]
        names = re.findall(r"\$\{?(\w+)", run("-n", *argv).out)
        values = dict.fromkeys(names, odd) | {"ANTHROPIC_AUTH_TOKEN": "gateway-word"}
        dry = assert_same(run, server.requests, *argv, **values)

    assert "word" not in dry.out


def test_a_runner_reads_no_command_in_it(run: Run, key: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    prompt = "##[error]x\n::error::y\r::z ##vso[a]b"
    with serving(answer()) as server:
        dry = assert_same(run, server.requests, "--base-url", server.url, "-s", prompt, prompt)

    assert "##[" not in dry.out
    assert "##vso[" not in dry.out
    assert not re.search(r"(?m)^\s*::", dry.out.replace("\r", "\n"))


def test_the_locale_does_not_change_the_command(run: Run, key: str) -> None:
    Path("p.json").write_bytes(PAYLOAD.encode())
    with serving(answer()) as server:
        argv = ["--base-url", server.url, "--payload", "p.json"]
        run(*argv)
        environ = environment(LC_ALL="C", PYTHONIOENCODING="ascii")
        run_by_shell(subprocess.check_output([*PROGRAM, "-n", *argv], env=environ, text=True))

    ours, theirs = map(parts, server.requests)
    assert theirs == ours


@pytest.mark.parametrize("secret", [KEY, "sk-ant-api03-another-0123456789"])
def test_a_secret_in_the_body_is_masked(run: Run, key: str, secret: str) -> None:
    dry = run("-n", f"my key is {secret}")

    assert dry.code == 0
    assert secret not in dry.out + dry.err
    assert "the body holds a secret" in dry.err


@pytest.mark.usefixtures("key")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda s: s.strip()),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip),
)
def test_any_prompt_and_any_header_are_sent_alike(run: Run, prompt: str, value: str) -> None:
    with serving(answer()) as server:
        argv = ["--base-url", server.url, "-H", f"anthropic-beta: {value}", f"--system={prompt}"]
        assert_same(run, server.requests, *argv, f" {prompt}")
