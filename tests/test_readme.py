"""What the README says is what the program does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers import GOLDEN, KEY, PROGRAM, Run
from servers import answer, serving

from claude_ping import settings, simulator
from claude_ping.records import ExitCode, PingError
from claude_ping.rules import RULES
from claude_ping.settings import Options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def block(language: str, beginning: str) -> str:
    """The code block of the README that begins so."""
    blocks: list[str] = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)
    return next(text for text in blocks if text.lstrip().startswith(beginning))


def test_the_example_file_holds_every_variable_and_no_usable_key() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")

    named = re.findall(r"(?m)^(?:# )?(ANTHROPIC_\w+)=", example)
    assert named == list(settings.VARIABLES)
    layer = settings.read_env_file(str(ROOT / ".env.example"), ".env.example")
    with pytest.raises(PingError, match="is a placeholder"):
        settings.resolve(Options(), [layer], {})


def test_every_variable_exit_code_and_scenario_is_named() -> None:
    for variable in settings.VARIABLES:
        assert f"| `{variable}` |" in README
    for code in ExitCode:
        if code is not ExitCode.INTERRUPTED:
            assert f"| {code.value} | `{code.name.lower()}` |" in README
    for scenario in simulator.SCENARIOS:
        assert f"`{scenario}`" in README


def test_the_json_example_is_what_the_program_prints(run: Run) -> None:
    shown = json.loads(block("json", "{"))
    printed = json.loads(run("--simulate", "ok", "--json", "hello").out)

    assert keys(shown) == keys(printed)
    for varying in ("time", "timing", "client"):
        printed[varying] = shown[varying]
    printed["request"]["url"] = shown["request"]["url"]
    printed["response"]["headers"]["date"] = shown["response"]["headers"]["date"]
    assert shown == printed


def keys(value: Any) -> Any:
    """The shape of a JSON value: its keys, without what they hold."""
    return {name: keys(item) for name, item in value.items()} if isinstance(value, dict) else None


def test_every_key_of_the_report_is_explained(run: Run) -> None:
    table = README[README.index("| key | what it holds |") :]
    for name, value in json.loads(run("--simulate", "ok", "--json").out).items():
        assert f"`{name}`" in table
        inner = value if name in ("credential", "request", "response", "timing", "client") else {}
        for part in inner:
            assert f"`{part}`" in table


def test_the_dry_run_is_what_the_program_prints(run: Run, key: str) -> None:
    shown = block("console", "$ claude-ping --dry-run")

    assert run("--dry-run", "hello").out == shown.partition("\n")[2]


@pytest.mark.parametrize("scenario", ["ok", "credit"])
def test_the_first_reports_read_as_the_program_prints_them(scenario: str) -> None:
    golden = (GOLDEN / f"{scenario}.txt").read_text("utf-8")
    shown = block("console", '$ claude-ping "hello"\n' + ("POST" if scenario == "ok" else "✗"))

    assert skeleton(shown.partition("\n")[2]) == skeleton(golden)


def test_the_list_of_models_reads_as_the_program_prints_it(run: Run) -> None:
    shown = block("console", "$ claude-ping --models")
    printed = run("--simulate", "ok", "--models").out

    assert skeleton(shown.partition("\n")[2]) == skeleton(printed)


def test_the_refused_payload_reads_as_the_program_prints_it(
    run: Run, key: str, tmp_path: Path
) -> None:
    shown = block("console", "$ claude-ping --payload").splitlines()[1:]
    message = shown[0].partition("invalid_request_error: ")[2]
    (tmp_path / "request.json").write_text(
        '{"tools": [{"name": "t", "input_schema": {"type": "array"}}]}', "utf-8"
    )
    refusal = {"error": {"type": "invalid_request_error", "message": message}}
    with serving(answer(400, refusal)) as server:
        ran = run("--base-url", server.url, "--payload", "request.json")

    assert ran.err.splitlines()[: len(shown)] == shown


# What the table of failures shows of a rule's sentences in place of a run's facts.
WORDS = {
    "answerer": "The API",
    "credential": "the key",
    "Credential": "The key",
    "host": "the host",
    "model": "the model",
    "organization": "the organization",
    "resigned": "Something between here and there re-signs TLS: a company proxy or antivirus.",
    "sent": "The key was not sent.",
    "unseen": "The key was not looked at.",
    "home_key": "It was deleted, expired or mistyped: compare with <https://platform.claude.com/settings/keys>",
    "dialled_name": "HOST",
    "closest": "The closest ids are named.",
}
SHOWN = {
    "401 `invalid x-api-key`": "key not accepted",
    "400 `Your credit balance is too low`": "no credit",
    "400 `specified API usage limits`": "spend limit of your own",
    "429 `monthly API usage threshold`": "spend cap of the tier",
    "400 `organization has been disabled`": "organization disabled",
    "400 `anthropic-workspace-id`": "workspace needed",
    "403 `permission_error`": "permission",
    "403 `Request not allowed`": "blocked at the edge",
    "404 `model: …`": "model not found",
    "429 `rate_limit_error`": "rate limit",
    "500 `api_error`": "server error",
    "529 `overloaded_error`": "overloaded",
    "200, but a web page": "not a message",
    "cannot find the host": "name not found",
    "connection refused": "connection refused",
    "`self-signed certificate in certificate chain`": "TLS intercepted",
    "`unable to get local issuer certificate`": "TLS issuer unknown",
}


def linked(text: str) -> str:
    return re.sub(r"(?<!<)(https://[\w./-]*\w)", r"<\1>", text)


def row(seen: str, name: str) -> str:
    """A row of the README's table of failures, made of the rule's own sentences."""
    rule = next(rule for rule in RULES if rule.name == name)
    filled = [
        [
            line.format_map(WORDS)
            for line in lines
            if set(re.findall(r"{(\w+)}", line)) <= WORDS.keys()
        ]
        for lines in (rule.known, rule.hints)
    ]
    means, do = (
        separator.join(lines[:2]) for separator, lines in zip((" ", " · "), filled, strict=True)
    )
    return f"| {seen} | {rule.exit_code.value} | {linked(means)} | {linked(do)} |"


def test_the_table_of_failures_is_made_of_the_rules() -> None:
    shown = [
        line for line in README.splitlines() if re.match(r"\| .* \| \d+ \| .* \| .* \|$", line)
    ]

    assert shown == [row(seen, name) for seen, name in SHOWN.items()]


def skeleton(report: str) -> str:
    """A report without what differs from call to call: ids, host, key, counts, the reply."""
    report = re.sub(r"(?m)^note: simulated .*\n", "", report)
    report = re.sub(r"https?://\S+/v1/", "URL", report)
    report = re.sub(r"key …\w{4} from .*", "KEY", report)
    report = re.sub(r"req_\w+", "ID", report)
    report = re.sub(r"[\dN]\.[\dN][\dN] s\b", "TIME", report)
    return re.sub(r"(?m)^  │ .*", "  │ TEXT", report)


SHELL = {
    "GitHub Actions": re.sub(r"(?m)^ +", "", block("yaml", "- name").partition("run: |\n")[2]),
    "plain sh": block("sh", "claude-ping && "),
}
OUTCOMES = {
    0: (answer(), 0),
    4: (answer(401, b""), 4),
    5: (answer(529, b"", {"x-should-retry": "false"}), 0),
    8: (answer(429, b"", {"x-should-retry": "false"}), 0),
    9: (answer(400, b""), 9),
}


@pytest.mark.parametrize("code", OUTCOMES)
@pytest.mark.parametrize("name", SHELL)
def test_the_ci_step_passes_waits_or_fails_as_it_says(tmp_path: Path, name: str, code: int) -> None:
    reply, expected = OUTCOMES[code]
    program = tmp_path / "claude-ping"
    program.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n', "utf-8")
    program.chmod(0o755)
    with serving(reply) as server:
        environ = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": server.url,
        }
        done = subprocess.run(
            ["sh", "-e", "-c", SHELL[name]],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == expected
    assert (f"exit code {code}" in done.stdout) is (code in (5, 8))
    assert bool(done.stderr) is (code != 0)


def test_the_gitlab_job_allows_what_wants_patience() -> None:
    assert "exit_codes: [5, 6, 8]" in block("yaml", "claude-ping:")
