"""Reports as people see them."""

from __future__ import annotations

from typing import Any

import pytest
from servers import MESSAGE

from claude_ping import render
from claude_ping.records import (
    Answer,
    Diagnosis,
    ExitCode,
    Failure,
    Fault,
    Reply,
    Report,
    Retry,
    Timing,
)
from claude_ping.render import Look

PLAIN = Look(render.plain)


def shown(**fields: Any) -> list[str]:
    """The lines of a reply's report after the headline."""
    reply = Reply({**MESSAGE, **fields}, Answer(200, "OK", {}, b""))
    report = Report(reply, Diagnosis(ExitCode.OK, "200 OK"))
    return render.success(reply, report, PLAIN).splitlines()[2:]


def block(**fields: Any) -> list[str]:
    """The lines of one content block."""
    return list(render.block_lines(fields, PLAIN))


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        ({"input_tokens": 1234, "output_tokens": 5}, "1,234 input, 5 output tokens"),
        (
            {
                "input_tokens": 1,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 7},
            },
            "1 input, 9 output tokens (7 thinking)",
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_read_input_tokens": 3000,
                "cache_creation_input_tokens": 4,
            },
            "1 input (+ 3,000 cache read + 4 cache creation), 2 output tokens",
        ),
        ({"input_tokens": None}, "null input, null output tokens"),
        ([1], "[1]"),
        ("many", "many"),
        (None, None),
    ],
)
def test_usage_is_one_line(usage: object, line: str | None) -> None:
    assert render.usage(usage) == line


def test_fields_that_came_are_shown_as_they_came() -> None:
    assert shown(stop_reason="stop_sequence", stop_sequence="\n\n", model=7, content=None) == [
        "  model         7",
        "  stop_reason   stop_sequence",
        "  stop_sequence \\n\\n",
        "  usage         15 input, 4 output tokens",
    ]


def test_a_stop_reason_is_shown_even_when_it_is_missing() -> None:
    assert "  stop_reason   null" in shown(stop_reason=None)


def test_text_stands_behind_a_gutter_line_by_line() -> None:
    assert block(type="text", text="one\n\n::error::two\n") == [
        "  text",
        "  │ one",
        "  │",
        "  │ ::error::two",
        "  │",
    ]


def test_control_characters_are_made_visible() -> None:
    assert block(type="text", text="\x1b[2J\r\x07\x9b\u202e\ud800\u2028\tend") == [
        "  text",
        "  │ \\x1b[2J\\r\\x07\\x9b\\u202e\\ud800\\u2028\tend",
    ]


def test_an_unknown_block_is_shown_as_it_is() -> None:
    assert block(type="hologram", id="h_1", depth=3) == [
        "  hologram h_1",
        "  │ {",
        '  │   "depth": 3',
        "  │ }",
    ]


def test_blocks_without_text_are_a_heading() -> None:
    assert block(type="thinking", thinking="", signature="x") == ["  thinking (empty)"]
    assert block(type="redacted_thinking", data="x") == ["  redacted_thinking"]


def test_what_is_no_block_is_shown_as_such() -> None:
    assert list(render.block_lines(7, PLAIN)) == ["  (not a content block)", "  │ 7"]
    assert "  (not a content block)" in shown(content=7)
    assert block(type=["x"], text=7) == ['  ["x"]', "  │ {", '  │   "text": 7', "  │ }"]


def test_colours_are_put_around_whole_words() -> None:
    assert list(render.block_lines({"type": "text", "text": "hi"}, Look(render.ansi))) == [
        "  \x1b[1mtext\x1b[0m",
        "  \x1b[2m│\x1b[0m hi",
    ]


def failure_report(**fields: Any) -> Report:
    failure = Failure(Fault.HTTP, "words")
    return Report(failure, Diagnosis(ExitCode.SERVER, **fields))


def test_a_failure_is_wrapped_to_the_terminal_but_no_url_is_broken() -> None:
    url = "https://platform.claude.com/settings/keys/that/are/long"
    report = failure_report(
        headline="500 one two three four five six", hints=(f"look at the page {url}",)
    )

    assert render.failure(report, Look(render.plain, 24)).splitlines() == [
        "✗ 500 one two three four",
        "  five six",
        "  • look at the page",
        f"    {url}",
    ]


def test_a_failure_is_not_wrapped_elsewhere_and_stays_on_its_lines() -> None:
    report = failure_report(headline="500 " + "x " * 100, known=("one\ntwo\x1b[0m",))

    assert render.failure(report, PLAIN).splitlines() == [
        "✗ 500 " + "x " * 100,
        "  one\\ntwo\\x1b[0m",
    ]


def test_a_retry_says_why_and_when() -> None:
    overloaded = Failure(Fault.HTTP, "", Answer(529, "", {}, b""), "overloaded_error")

    assert render.retry(Retry(overloaded, 0.46, 2, 3), PLAIN) == (
        "529 overloaded_error: waiting 0.5 s, then attempt 2 of 3"
    )
    assert render.retry(Retry(Failure(Fault.REFUSED), 1, 3, 3), PLAIN) == (
        "connection refused: waiting 1.0 s, then attempt 3 of 3"
    )


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("ten column", ["ten column"]),
        ("a line that is longer", ["a line ", "that is ", "longer"]),
        ("unbreakableword end", ["unbreakabl", "eword end"]),
        ("日本語の長い文章です", ["日本語の長", "い文章です"]),
        ("e\u0301" * 12, ["e\u0301" * 10, "e\u0301" * 2]),
        ("שלום עולם שלום", ["שלום עולם ", "שלום"]),
    ],
)
def test_a_line_is_folded_by_the_room_it_takes(line: str, parts: list[str]) -> None:
    assert list(render.fold(line, 10)) == parts


def test_a_reply_is_folded_to_the_terminal() -> None:
    lines = render.block_lines({"type": "text", "text": "one two three"}, Look(render.plain, 12))

    assert list(lines) == ["  text", "  │ one two", "  │ three"]


def test_the_timeline_fits_a_narrow_terminal() -> None:
    timing = Timing(0.1, None, 0.2, 0.0, None, 0.4)
    report = failure_report(headline="x")._replace(timing=timing)

    lines = [line for line in render.details(report, Look(render.plain, 40)) if line.endswith(" s")]

    assert lines == [
        "  connect    ▇▇▇▇▇            0.100 s",
        "  first byte      ▇▇▇▇▇▇▇▇▇▇▇ 0.200 s",
        "  rest                      ▇ 0.000 s",
        "  total                       0.400 s",
    ]
