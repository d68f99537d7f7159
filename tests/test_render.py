"""What people see of a reply; the screens of failures are in `test_failures`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Run
from servers import MESSAGE, answer, serving

from claude_ping import render, simulator

Golden = Callable[[str, str], None]


@pytest.mark.parametrize("name", simulator.REPLIES)
def test_every_reply_looks_as_it_did(run: Run, golden: Golden, name: str) -> None:
    ran = run("--simulate", name, "hello")

    assert ran.code == 0
    golden(f"reply-{name}", f"{ran.out}---\n{ran.err}")


@pytest.mark.parametrize("form", ["--stream", "--models", "-v"])
def test_every_form_looks_as_it_did(run: Run, golden: Golden, form: str) -> None:
    ran = run("--simulate", "ok", form)

    client = re.sub(r"(  claude-ping [\d.]+ · Python) [^\n]+ · ", r"\1 … · ", ran.err)
    client = re.sub(r"▇+|▏", "▇", re.sub(r" +(?=[▇▏])", " ", client))
    client = re.sub(r"(▇) +", r"\1 ", re.sub(r"date: [^\n]+", "date: …", client))
    golden(f"form{form}", f"{ran.out}---\n{client}")


def test_the_timeline_shows_every_attempt(run: Run) -> None:
    shown = run("--simulate", "overloaded-once", "-v").err

    rows = re.findall(r"^  (attempt \d)? +(\w+) ", shown, re.MULTILINE)
    phases = ["DNS", "TCP", "waiting", "download"]
    assert [phase for _, phase in rows if phase in [*phases, "pause"]] == [
        *phases,
        "pause",
        *phases,
    ]
    assert [label for label, _ in rows if label] == ["attempt 1", "attempt 2"]


CONTENT: dict[str, tuple[Any, str]] = {
    "two texts": (
        [{"type": "text", "text": "a\nb"}, {"type": "text", "text": ""}],
        "  text\n  │ a\n  │ b\n\n  text (empty)\n",
    ),
    "an unknown block": (
        [{"type": "new", "id": "n1", "x": {"y": 1}}],
        '  new n1\n  │ {\n  │   "x": {\n  │     "y": 1\n  │   }\n  │ }\n',
    ),
    "a redacted block": ([{"type": "redacted_thinking", "data": "x"}], "  redacted_thinking\n"),
    "what is no block": ([5], '  (not a content block)\n  │ {\n  │   "value": 5\n  │ }\n'),
    "what is no list": ("hello", '  (not a content block)\n  │ {\n  │   "value": "hello"\n  │ }\n'),
}


@pytest.mark.parametrize("name", CONTENT)
def test_blocks_are_shown_as_they_are(run: Run, key: str, name: str) -> None:
    content, shown = CONTENT[name]
    with serving(answer(200, {**MESSAGE, "content": content})) as server:
        ran = run("--base-url", server.url)

    assert ran.out.partition("\n\n")[2] == shown


USAGE: dict[str, tuple[Any, Any]] = {
    "plain": ({"input_tokens": 1234, "output_tokens": 5}, "1,234 input, 5 output tokens"),
    "cache and thinking": (
        {
            "input_tokens": 1,
            "output_tokens": 9,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 0,
            "service_tier": "standard",
            "output_tokens_details": {"thinking_tokens": 8},
        },
        "1 input, 9 output, 2 cache read input tokens (8 thinking)",
    ),
    "unknown": ({"output_tokens": "many"}, {"output_tokens": "many"}),
    "no object": ([1], [1]),
    "none": (None, None),
}


@pytest.mark.parametrize("name", USAGE)
def test_token_counts_are_shown(name: str) -> None:
    counts, shown = USAGE[name]

    assert render.usage(counts) == shown


WORDS = {
    0.04: "0.0 s",
    9.94: "9.9 s",
    30: "30 s",
    119: "119 s",
    300: "5 min",
    7200: "2 h",
    1e6: "12 days",
}


@pytest.mark.parametrize("seconds", WORDS)
def test_a_time_is_told_as_people_do(seconds: float) -> None:
    assert render.in_words(seconds) == WORDS[seconds]


def test_notes_say_what_is_odd_about_a_reply(run: Run, key: str) -> None:
    odd: dict[str, tuple[dict[str, Any], str]] = {
        "no content": ({"content": []}, "the reply has no content"),
        "another model": ({"model": "claude-x"}, "answered by claude-x"),
        "no model": ({"model": None}, "answered by no model it names"),
        "no list": ({"content": "hi"}, "content is not a list of blocks"),
        "a full window": (
            {"stop_reason": "model_context_window_exceeded"},
            "context window is full",
        ),
        "a pause": ({"stop_reason": "pause_turn"}, "paused in the middle of its turn"),
    }
    for fields, note in odd.values():
        with serving(answer(200, {**MESSAGE, **fields})) as server:
            ran = run("--base-url", server.url, "--json")
        assert ran.code == 0
        assert any(note in warning for warning in ran.report["warnings"])


def test_a_base_url_of_ones_own_is_shown(run: Run, key: str) -> None:
    with serving(answer()) as server:
        ran = run("--base-url", f"{server.url}/")

    assert f"  url           {server.url}/v1/messages\n" in ran.out
