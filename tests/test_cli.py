"""What the program does about its own bugs, and where no other test looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import KEY, Run
from servers import answer, serving

from claude_ping import __main__ as program
from claude_ping import failures, machine, render
from claude_ping.records import Report


def test_a_bug_is_one_line_that_names_our_lines_and_no_values(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)

    ran = run("hello")

    assert ran.code == 1
    assert ran.err.startswith("✗ a bug in claude-ping: FileNotFoundError in cli.py:")
    assert "exit 1 (internal: internal error)" in ran.err


def test_a_bug_in_publishing_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(render, "success")

    assert program.run(["--simulate", "ok"]) == 1
    assert capsys.readouterr().err.startswith("✗ a bug in claude-ping: AttributeError in cli.py:")


def test_a_report_that_knows_nothing_shows_nothing() -> None:
    report = Report(1.0)

    assert machine.as_curl(report) == ""
    assert render.success(report, lambda _style, text: text) == ""


def test_a_paragraph_that_is_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        failures.row("legal block", "< 451")


def test_a_gateway_that_wants_x_api_key_is_understood(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    refusal = answer(401, {"detail": "The x-api-key header is missing"})
    with serving(refusal) as server:
        hints = run("--base-url", server.url, "--json").report["hints"]

    assert hints[0].startswith("The server asks for x-api-key")


def test_a_header_alone_can_be_the_credential(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "authorization: Bearer a-gateway-token")
    with serving(answer()) as server:
        ran = run("--base-url", server.url, "--json")

    assert ran.code == 0
    assert ran.report["credential"]["source"] == "a custom header"
    assert b"Bearer a-gateway-token" in server.requests[0]


def test_a_scheme_that_no_header_can_be_typed_for_is_no_hint(run: Run, key: str) -> None:
    with serving(answer(401, b"", {"www-authenticate": "Negotiate"})) as server:
        report = run("--base-url", server.url, "--json").report

    assert not any("asks for" in hint for hint in report["hints"])


def test_a_long_message_is_read_in_linear_time(run: Run, key: str) -> None:
    for message in ("lorem ipsum " * 1360, "api key " + "x y " * 4000, "a-" * 8000):
        with serving(answer(400, {"error": {"message": message}})) as server:
            ran = run("--base-url", server.url, "--json", "--timeout", "5")
        assert ran.report["fault"] == "invalid request"
        assert ran.report["timing"]["total"] < 3


def test_a_reason_from_outside_is_made_visible_on_success_too(run: Run, key: str) -> None:
    good = answer().replace(b"200 X", b"200 \x1b[2J")
    with serving(good) as server:
        ran = run("--base-url", server.url)

    assert (ran.code, "\x1b" in ran.out) == (0, False)
    assert "✓ 200 \\x1b[2J" in ran.out
