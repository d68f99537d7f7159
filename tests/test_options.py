"""The command line: values, usage errors, help, a body of the user's own, standard input."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers import KEY, PROGRAM, Run, environment
from servers import answer, serving

PING = "Reply with the single word: pong"
pytestmark = pytest.mark.usefixtures("key")


def lacks(text: str, words: str) -> list[str]:
    """The patterns, divided by `&`, that are not in the text."""
    return [word for word in words.split(" & ") if not re.search(word, text, re.IGNORECASE)]


def process(data: bytes, *argv: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    command, environ = [*PROGRAM, *argv], environment(LC_ALL="C.UTF-8", **env)
    return subprocess.run(command, env=environ, input=data, capture_output=True, check=False)


def body(prompt: str = PING, **fields: Any) -> dict[str, Any]:
    model = {"model": "claude-haiku-5-5", "max_tokens": 1024}
    return {**model, "messages": [{"role": "user", "content": prompt}], **fields}


ASKED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing": ([], body()),
    "a prompt": (["hello"], body("hello")),
    "a prompt behind a hyphen": (["--", "--hello"], body("--hello")),
    "options behind the prompt": (["hello", "-m", "other"], body("hello", model="other")),
    "a model": (["--model=other"], body(model="other")),
    "a system prompt": (["-s", "brief"], body(system="brief")),
    "no tokens": (["--max-tokens", "0"], body(max_tokens=0)),
    "a temperature": (["--temperature", "0.5"], body(temperature=0.5)),
    "a stream": (["--stream"], body(stream=True)),
    "what is no part of the body": (["--timeout", "0.5", "--retries", "0", "-v"], body()),
}


@pytest.mark.parametrize("case", ASKED)
def test_options_become_the_body(run: Run, case: str) -> None:
    argv, wanted = ASKED[case]

    request = run("-n", "--json", *argv).report["request"]

    assert request["method"] == "POST"
    assert request["body"] == wanted


def test_models_are_asked_for_without_a_body(run: Run) -> None:
    request = run("-n", "--json", "--models").report["request"]

    assert request["url"] == "https://api.anthropic.com/v1/models?limit=1000"
    assert (request["method"], request["body"]) == ("GET", None)


# The first line // the rest.
MISUSED: dict[str, tuple[list[str], str]] = {
    "a letter off": (["--modle", "x"], r"unknown option --modle // Did you mean --model\?"),
    "a hyphen short": (["--maxtokens", "5"], r"--maxtokens // Did you mean --max-tokens\?"),
    "an option with a value": (["--steam=yes"], r"--steam // Did you mean --stream\?"),
    "an option like none": (["--frobnicate"], "unknown option --frobnicate // "),
    "a letter that is none": (["-k" + KEY], "unknown option -k // "),
    "the key": (["--api-key", "abc-hunter2-"], r"--api-key // ANTHROPIC_API_KEY & \.env"),
    "the key, with a sign": ([f"--api-key={KEY}"], r"--api-key // ANTHROPIC_API_KEY & \.env"),
    "no value": (["--model"], "--model // "),
    "a blank model": (["-m", " "], r"-m\b|--model // "),
    "tokens that are no integer": (["--max-tokens", "1e3"], "^✗ --max-tokens: & 1e3 // "),
    "too hot": (["--temperature", "1.5"], "--temperature & 1.5 // "),
    "no temperature": (["--temperature", "nan"], "--temperature & nan // "),
    "no time": (["--timeout", "0"], "--timeout & 0 // "),
    "attempts below none": (["--retries", "-1"], "--retries & -1 // "),
    "a header without a colon": (["-H", f"x {KEY}"], r"-H\b|--header & NAME: VALUE // "),
    "a header of two lines": (["-H", "x: a\nhunter2-"], r"-H\b|--header & line break // "),
    "a header that follows": (["-H", "Content-Length: 3"], r"-H\b|--header & content-length // "),
    "words": (["my", "dear", "friend"], 'more than one PROMPT & quote & "my dear friend" // '),
    "words and an option": (
        ["my", "dear", "--modle"],
        r"unknown option --modle // Did you mean --model\?",
    ),
    "a blank prompt": ([""], "PROMPT // "),
    "a prompt that is no text": (["a\udcff"], "PROMPT & UTF-8 // "),
    "a key for a prompt": ([KEY], "PROMPT & key // history & revoke"),
    "a key for a second prompt": (["hello", KEY], "PROMPT|argument // "),
    "two forms": (["--json", "--raw"], "--json & --raw // "),
    "a simulated dry run": (["--simulate", "ok", "-n"], "--simulate & --dry-run // "),
    "a payload and a prompt": (["--payload", "p", "hello"], "--payload & PROMPT // "),
    "no such rehearsal": (["--simulate", "nope"], "--simulate & nope // thinking & no credit"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_a_usage_error_begins_with_the_defect(run: Run, case: str) -> None:
    argv, words = MISUSED[case]
    Path("p").write_text("{}", "utf-8")

    ran = run(*argv)

    headline, _, rest = ran.err.partition("\n")
    said, _, more = words.partition(" // ")
    assert (ran.code, ran.out) == (2, "")
    assert lacks(headline, f"^✗ & {said}") == []
    assert lacks(rest, more) == []
    assert re.findall(r"Usage: (.+\])", rest) == ["claude-ping [options] [PROMPT]"]
    assert ("quote" in ran.err) is (case == "words")
    assert ("Did you mean" in ran.err) is ("Did you mean" in more)
    assert not re.search(rf"{KEY[13:30]}|hunter2-", ran.err)


@pytest.mark.parametrize("word", ["help", "version", "models"])
def test_the_name_of_an_option_is_sent_but_remarked_on(run: Run, word: str) -> None:
    ran = run("-n", "--json", word)

    assert (ran.code, ran.report["request"]["body"]) == (0, body(word))
    assert lacks(ran.err, f"prompt & --{word}") == []


def test_the_rehearsals_are_listed(run: Run) -> None:
    ran = run("--simulate", "list")

    assert ran.code == 0
    assert lacks(ran.out, r"\bok\b & thinking & no credit") == []


HELP = r"""--model\b & --system & --max-tokens & --temperature & --stream & --payload & --sdk
& --header & --models & --dry-run & --simulate & --env-file & --base-url & --timeout & --retries
& --json & --raw & --verbose & --quiet & --no-color & --version & --help & ANTHROPIC_API_KEY
& ANTHROPIC_BASE_URL & HTTPS_PROXY & NO_PROXY & SSL_CERT_FILE & NO_COLOR & nearest .env
& https://platform.claude.com/settings/keys & 5, 6 and 8: try again later & everything else: fix
& 0 +ok & 1 +internal & 2 +usage & 3 +config & 4 +auth & 5 +server & 6 +network & 7 +account
& 8 +rate & 9 +request & 10 +protocol & 11 +connection & 130 +interrupted & claude-haiku-5-5"""


def test_help_names_what_a_user_needs_and_ends_with_examples(run: Run) -> None:
    ran = run("--help")

    assert (ran.code, ran.err) == (0, "")
    assert lacks(ran.out, HELP.replace("\n", " ")) == []
    assert re.search(r"(?s)130 +interrupted.*claude-ping", ran.out)
    assert run("-h") == ran


def test_the_version_is_one_line(run: Run) -> None:
    ran = run("-V")

    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"claude-ping \d+\.\d+\.\d+\n", ran.out)
    assert run("--version") == ran


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_help_and_usage_errors_can_be_plain(variables: dict[str, str]) -> None:
    for argv in ["--help"], ["--modle"]:
        ran = process(b"", "--no-color", *argv, **variables)
        assert not re.search(rb"\x1b|\\u|Traceback", ran.stdout + ran.stderr)


PAYLOAD = b"""{
  "model": "claude-opus-5-5",
  "max_tokens": 1e2,
  "messages": [{"role": "user", "content": "h\\u00e9llo"}, {"role": "assistant", "content": 1.50}]
}"""
OVERRIDES = ["-m", "m", "-s", "s", "--max-tokens", "0", "--temperature", "0", "--stream"]
OVERRIDDEN = {"model": "m", "system": "s", "max_tokens": 0, "temperature": 0, "stream": True}


@pytest.mark.parametrize("data", [PAYLOAD, b"{}", b'{"messages": []}\r\n'])
def test_a_payload_is_sent_to_the_letter(run: Run, data: bytes) -> None:
    Path("p.json").write_bytes(data)
    with serving(answer()) as server:
        run("--base-url", server.url, "--payload", "p.json")

    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [data]


def test_options_override_fields_of_the_payload(run: Run) -> None:
    Path("p.json").write_bytes(PAYLOAD)

    sent = run("-n", "--json", "--payload", "p.json", *OVERRIDES).report["request"]["body"]

    assert sent == json.loads(PAYLOAD) | OVERRIDDEN


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "p.json & JSON|empty"),
    "cut JSON": (b'{\n "a": [1,', "not JSON & line 2"),
    "a trailing comma": (b'{"a": 1,}', "not JSON"),
    "an array": (b"[1]", "JSON object"),
    "null": (b"null", "JSON object"),
    "not a number": (b'{"a": NaN}', "NaN"),
    "Latin-1": (b'{"a": "\xe9"}', "UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte order mark|BOM"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-16"),
    "deep nesting": (b"[" * 100_000, "deep"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_payload_that_is_no_json_object_is_a_usage_error(run: Run, case: str) -> None:
    data, words = BAD[case]
    Path("p.json").write_bytes(data)

    ran = run("--payload", "p.json")

    assert (ran.code, ran.out) == (2, "")
    assert lacks(ran.err.partition("\n")[0], rf"^✗ & --payload & p\.json & {words}") == []


@pytest.mark.parametrize("path", ["missing.json", ".", "sk-ant-api03-hunter2-of-somebody"])
def test_a_payload_that_cannot_be_read_is_a_usage_error(run: Run, path: str) -> None:
    ran = run("--payload", path)

    assert ran.code == 2
    assert lacks(ran.err.partition("\n")[0], "^✗ & --payload") == []
    assert "hunter2-" not in ran.err


STDIN: dict[str, tuple[list[str], bytes, int, dict[str, Any] | str]] = {
    "a prompt": (["-"], "höllo\n".encode(), 0, body("höllo\n")),
    "a payload": (["--payload", "-"], b'{"a": 1}', 0, {"a": 1}),
    "an empty prompt": (["-"], b"", 2, "PROMPT & standard input & empty"),
    "not UTF-8": (["-"], b"ab\xff", 2, "PROMPT & standard input & UTF-8"),
    "an empty payload": (["--payload", "-"], b"", 2, "--payload & standard input"),
    "a payload in UTF-16": (["--payload", "-"], "{}".encode("utf-16"), 2, "--payload & UTF-16"),
}


@pytest.mark.parametrize("case", STDIN)
def test_a_hyphen_is_standard_input(case: str) -> None:
    argv, data, code, wanted = STDIN[case]

    ran = process(data, "-n", "--json", *argv, PYTHONIOENCODING="utf-8")

    assert ran.returncode == code
    if isinstance(wanted, str):
        assert lacks(ran.stderr.decode().partition("\n")[0], f"^✗ & {wanted}") == []
    else:
        assert json.loads(ran.stdout)["request"]["body"] == wanted
