"""Server-sent events, wherever the network cuts them, and the message that they add up to."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import MESSAGE

from claude_ping import api, stream
from claude_ping.stream import Accumulator

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
DATA = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1
)


@given(st.lists(st.tuples(st.booleans(), DATA)), ENDS, st.lists(st.integers(0, 500)))
def test_events_are_read_wherever_they_are_cut(
    events: list[tuple[bool, list[str]]], end: bytes, cuts: list[int]
) -> None:
    lines: list[bytes] = []
    for is_named, data in events:
        lines += [b": a comment", b"id: 1", *([b"event: x"] if is_named else [])]
        lines += [b"data: " + part.encode() for part in data] + [b""]
    body = b"\xef\xbb\xbf" + b"".join(line + end for line in lines)
    ends = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    chunks = [body[start:stop] for start, stop in itertools.pairwise(ends)]

    read = [event for batch in stream.events(chunks) for event in batch]

    assert read == [(is_named, "\n".join(data).encode()) for is_named, data in events]


def test_the_last_event_needs_no_blank_line_and_an_event_without_data_is_none() -> None:
    batches = list(stream.events([b"event: ping\n\ndata:1\ndata", b": 2"]))

    assert [event for batch in batches for event in batch] == [(False, b"1\n2")]


def added(*events: dict[str, Any]) -> dict[str, Any]:
    accumulator = Accumulator(api.parse_json)
    for event in ({"type": "message_start", "message": {**MESSAGE, "content": []}}, *events):
        accumulator.add(event)
    message = accumulator.result()
    assert message is not None
    return message


def begun(index: object, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: object, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


BLOCKS: dict[str, tuple[list[dict[str, Any]], Any]] = {
    "text, begun with some": (
        [begun(0, type="text", text="a"), delta(0, "text_delta", text="b")],
        [{"type": "text", "text": "ab"}],
    ),
    "thinking and its signature": (
        [
            begun(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="hm"),
            delta(0, "signature_delta", signature="s"),
        ],
        [{"type": "thinking", "thinking": "hm", "signature": "s"}],
    ),
    "a tool's input": (
        [
            begun(0, type="tool_use", input={}),
            delta(0, "input_json_delta", partial_json='{"a"'),
            delta(0, "input_json_delta", partial_json=": 1}"),
        ],
        [{"type": "tool_use", "input": {"a": 1}}],
    ),
    "a tool's input, cut": (
        [begun(0, type="tool_use", input={}), delta(0, "input_json_delta", partial_json='{"a')],
        [{"type": "tool_use", "input": '{"a'}],
    ),
    "a tool's input, empty": (
        [begun(0, type="tool_use", input=1), delta(0, "input_json_delta", partial_json="")],
        [{"type": "tool_use", "input": {}}],
    ),
    "citations": (
        [
            begun(0, type="text", text="", citations=None),
            delta(0, "citations_delta", citation=1),
            delta(0, "citations_delta", citation=2),
        ],
        [{"type": "text", "text": "", "citations": [1, 2]}],
    ),
    "a compaction": (
        [begun(0, type="compaction"), delta(0, "compaction_delta", content="so far")],
        [{"type": "compaction", "content": "so far"}],
    ),
    "blocks out of order": (
        [begun(1, type="text", text="b"), begun(0, type="text", text="a")],
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    ),
    "a second message": (
        [
            begun(0, type="tool_use", input={}),
            delta(0, "input_json_delta", partial_json='{"a": 1}'),
            {"type": "message_start", "message": {**MESSAGE, "content": []}},
            begun(0, type="text", text="new"),
        ],
        [{"type": "text", "text": "new"}],
    ),
    "what nobody knows": (
        [
            begun("0", type="text", text="x"),
            delta(0, "text_delta", text="x"),
            begun(0, type="text", text=""),
            delta(0, "new_delta", text="x"),
            delta(0, "text_delta", text=5),
            {"type": "new_event"},
            {"type": "message_delta", "delta": 1, "usage": 2},
        ],
        [{"type": "text", "text": ""}],
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_deltas_add_up_to_blocks(name: str) -> None:
    events, content = BLOCKS[name]

    assert added(*events)["content"] == content


def test_a_message_delta_replaces_what_it_names() -> None:
    usage = {"output_tokens": 9, "cache_read_input_tokens": None}
    message = added({"type": "message_delta", "delta": {"stop_reason": "x"}, "usage": usage})

    assert message["stop_reason"] == "x"
    assert message["usage"] == {"input_tokens": 15, "output_tokens": 9}


def test_events_before_a_message_add_up_to_none() -> None:
    accumulator = Accumulator(api.parse_json)
    accumulator.add({"type": "message_stop"})

    assert accumulator.result() is None
    assert not accumulator.is_complete


NUMBERS = {"1e999": "1e999", "9" * 5000: "9" * 5000, "1.5": 1.5, "12": 12}


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: str(text)[:6])
def test_a_number_that_python_cannot_hold_is_kept_as_its_text(text: str) -> None:
    assert api.parse_json(f'{{"n": {text}}}') == {"n": NUMBERS[text]}


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[-Infinity]", "[" * 201 + "]" * 201, "[" * 10**6]
)
def test_what_is_no_json_or_too_deep_is_none(text: str) -> None:
    assert api.parse_json(text) is None
    assert api.parse_json(json.dumps(["[" * 999])) == ["[" * 999]
