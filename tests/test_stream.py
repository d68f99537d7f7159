"""Streams, split wherever a network may split them."""

from __future__ import annotations

import io
import itertools
import json
import re
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import PROGRAM, Run
from hypothesis import given
from hypothesis import strategies as st
from servers import MESSAGE, RawServer, answer, error, hang, reset, serving

from claude_ping import api
from claude_ping.records import Failure, Fault, PingError, Reply, Response, Secret
from claude_ping.screen import Screen
from claude_ping.stream import Accumulator, Decoder, accumulate

SSE = {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_s"}
START = {
    **MESSAGE,
    "content": [],
    "stop_reason": None,
    "usage": {"input_tokens": 9, "output_tokens": 1},
}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": START},
    {"type": "ping"},
    begin(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="Let me "),
    delta(0, type="thinking_delta", thinking="see."),
    delta(0, type="signature_delta", signature="sig"),
    {"type": "content_block_stop", "index": 0},
    begin(1, type="text", text=""),
    delta(1, type="text_delta", text="Grüße, "),
    delta(1, type="text_delta", text="🦊!\n"),
    delta(1, type="citations_delta", citation={"n": 1}),
    delta(1, type="brand_new_delta", text="?"),
    {"type": "content_block_stop", "index": 1},
    begin(2, type="tool_use", id="toolu_1", name="look", input={}),
    delta(2, type="input_json_delta", partial_json=""),
    delta(2, type="input_json_delta", partial_json='{"city": "Pa'),
    delta(2, type="input_json_delta", partial_json='ris"}'),
    {"type": "content_block_stop", "index": 2},
    begin(3, type="web_search_tool_result", content=[{"title": "x"}]),
    {"type": "brand_new_event", "index": 3},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 15, "input_tokens": None},
    },
    {"type": "message_stop"},
]
WHOLE = {
    **START,
    "content": [
        {"type": "thinking", "thinking": "Let me see.", "signature": "sig"},
        {"type": "text", "text": "Grüße, 🦊!\n", "citations": [{"n": 1}]},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Paris"}},
        {"type": "web_search_tool_result", "content": [{"title": "x"}]},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 9, "output_tokens": 15},
}


def encode(events: list[dict[str, Any]], end: str = "\n") -> bytes:
    lines = [
        f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}"
        for event in events
    ]
    return "".join(lines).encode()


STREAM = encode(EVENTS)


def read(chunks: list[bytes]) -> tuple[Reply | Failure, str]:
    texts: list[str] = []
    response = Response(200, "OK", SSE, iter(chunks))
    try:
        reply = api.read_stream(response, Accumulator(), lambda _, text: texts.append(text))
        return reply, "".join(texts)
    except PingError as caught:
        return caught.failure, "".join(texts)


def decode(chunks: list[bytes]) -> list[Any]:
    decoder = Decoder()
    return [*(event for chunk in chunks for event in decoder.feed(chunk)), *decoder.close()]


def test_a_stream_adds_up_to_the_message_of_a_plain_call() -> None:
    outcome, text = read([STREAM])

    assert isinstance(outcome, Reply)
    assert outcome.message == WHOLE
    assert text == "Grüße, 🦊!\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_may_be_split_at_every_byte(end: str) -> None:
    stream = encode(EVENTS, end)

    assert decode([bytes([byte]) for byte in stream]) == EVENTS
    for cut in range(0, len(stream), 7):
        assert decode([stream[:cut], stream[cut:]]) == EVENTS


def test_a_line_end_that_is_split_ends_one_line_not_two() -> None:
    stream = b'data: {"a":\r\ndata: 1}\r\n\r\n'

    assert decode([bytes([byte]) for byte in stream]) == [{"a": 1}]


ODD: dict[str, tuple[bytes, list[Any]]] = {
    "comments": (b': hello\n\n:\ndata: {"a": 1}\n: x\n\n', [{"a": 1}]),
    "several data lines": (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
    "no blank after the colon": (b'data:{"a":1}\n\n', [{"a": 1}]),
    "other fields": (b'id: 7\nretry: 9\nevent: x\ndata: {"a":1}\nodd\n\n', [{"a": 1}]),
    "no final blank line": (b'data: {"a":1}\n', [{"a": 1}]),
    "no final line end": (b'data: {"a":1}', [{"a": 1}]),
    "a final carriage return": (b'data: {"a":1}\n\r', [{"a": 1}]),
    "a byte order mark": (b'\xef\xbb\xbfdata: {"a":1}\n\n', [{"a": 1}]),
    "other line ends in the text": (
        'data: {"a": "\u2028\x85"}\n\n'.encode(),
        [{"a": "\u2028\x85"}],
    ),
    "what is no JSON": (b'data: [DONE]\n\ndata: {"a":1}\n\n', [{"a": 1}]),
    "NaN": (b"data: NaN\n\n", []),
    "deep nesting": (b"data: " + b"[" * 100_000 + b"\n\n", []),
    "an event without data": (b"event: ping\n\n", []),
    "invalid UTF-8": (b'data: {"a": "\xff"}\n\n', [{"a": "\ufffd"}]),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_stream_is_decoded(name: str) -> None:
    stream, events = ODD[name]

    assert decode([stream]) == events


@given(st.lists(st.integers(0, len(STREAM))), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_cuts_give_the_same_events(cuts: list[int], end: str) -> None:
    stream = encode(EVENTS, end)
    places = [0, *sorted(cuts), len(stream)]

    assert decode([stream[a:b] for a, b in itertools.pairwise(places)]) == EVENTS


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> list[Any]:
    """The events in another order, some twice, some gone, some with another value in a field."""
    events = draw(st.lists(st.sampled_from(EVENTS), max_size=25))
    mutations = []
    for event in events:
        copy = json.loads(json.dumps(event))
        target = draw(st.sampled_from([copy, *(v for v in copy.values() if isinstance(v, dict))]))
        if target and draw(st.booleans()):
            name = draw(st.sampled_from(sorted(target)))
            if draw(st.booleans()):
                del target[name]
            else:
                target[name] = draw(ANY)
        mutations.append(copy)
    return [*draw(st.sampled_from([EVENTS[:1], []])), *mutations]


@given(mutated())
def test_any_order_of_any_events_gives_an_outcome(events: list[Any]) -> None:
    stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)

    outcome, _ = read([stream])

    if isinstance(outcome, Failure):
        assert outcome.fault in (Fault.CUT, Fault.NOT_A_MESSAGE, Fault.HTTP)


@given(st.binary())
def test_any_bytes_give_an_outcome(stream: bytes) -> None:
    outcome, _ = read([stream])

    assert isinstance(outcome, Failure)
    assert outcome.fault is Fault.CUT


def test_a_tools_input_that_is_cut_is_kept_as_text() -> None:
    accumulator = Accumulator()

    accumulate([encode(EVENTS[:1] + EVENTS[13:16])], accumulator, lambda *_: None)

    result = accumulator.result()
    assert result
    assert result["content"][0]["input"] == '{"city": "Pa'


def test_events_that_lack_their_fields_are_passed_over() -> None:
    bare = ["message_start", "content_block_start", "content_block_delta", "message_delta"]
    odd = [7, *({"type": kind} for kind in bare), begin(0)["content_block"]]
    nowhere = [
        {"type": "content_block_start", "index": None, "content_block": {}},
        {"type": "content_block_delta", "index": 99, "delta": {}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": 7}},
        {"type": "message_delta", "delta": None, "usage": {}},
        {"type": "message_delta"},
    ]
    stream = b"".join(
        b"data: %s\n\n" % json.dumps(event).encode() for event in [*odd, *EVENTS[:-1], *nowhere]
    )

    outcome, _ = read([stream + encode(EVENTS[-1:])])

    assert isinstance(outcome, Reply)
    assert outcome.message == WHOLE


def test_a_message_nested_too_deeply_is_no_reply() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    events = [EVENTS[0], begin(0, type="new", value=deep), *EVENTS[-2:]]

    outcome, _ = read([encode(events)])

    assert isinstance(outcome, Failure)


def test_an_error_in_the_stream_is_classed_by_its_type_and_keeps_what_had_come(
    run: Run, key: str
) -> None:
    events = [*EVENTS[:10], error("overloaded_error", "Overloaded")]
    with serving(answer(200, encode(events), SSE)) as server:
        ran = run("--base-url", server.url, "--stream", "--json")

    report = json.loads(ran.out)
    assert ran.code == 5
    assert len(server.requests) == 1
    assert report["headline"] == "200 overloaded_error: Overloaded"
    assert report["response"]["request_id"] == "req_s"
    assert report["response"]["body"]["content"][1]["text"] == "Grüße, 🦊!\n"


@pytest.mark.parametrize("count", [0, 1, 9, len(EVENTS) - 1])
def test_a_stream_without_its_end_is_a_network_failure(run: Run, key: str, count: int) -> None:
    with serving(answer(200, encode(EVENTS[:count]), SSE)) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.code == 6
    assert (
        "✗ the answer broke off: the stream ended without message_stop and stop_reason" in ran.err
    )
    assert "request-id req_s" in ran.err


def test_the_text_is_shown_as_it_arrives_and_the_report_after_it(run: Run, key: str) -> None:
    with serving(answer(200, STREAM, SSE)) as server:
        ran = run("--base-url", server.url, "--stream", "hello")

    report = re.sub(r"in \d.\d\d s", "in N s", ran.out)
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["stream"] is True
    assert ran.code == 0
    assert report.splitlines() == [
        f"POST {server.url}/v1/messages   key …j4AA from the environment",
        "  text",
        "  │ Grüße, 🦊!",
        "  │ ",
        "✓ 200 X in N s",
        "  model         claude-haiku-5-5",
        "  stop_reason   tool_use",
        "  usage         9 input, 15 output tokens",
        "  request-id    req_s",
        "",
        "  thinking",
        "  │ Let me see.",
        "",
        "  tool_use look toolu_1",
        "  │ {",
        '  │   "input": {',
        '  │     "city": "Paris"',
        "  │   }",
        "  │ }",
        "",
        "  web_search_tool_result",
        "  │ {",
        '  │   "content": [',
        "  │     {",
        '  │       "title": "x"',
        "  │     }",
        "  │   ]",
        "  │ }",
    ]


def test_each_text_block_has_its_heading(run: Run, key: str) -> None:
    events = [
        EVENTS[0],
        begin(0, type="text", text="one"),
        begin(1, type="text", text=""),
        delta(1, type="text_delta", text="two\n::error::"),
        *EVENTS[-2:],
    ]
    with serving(answer(200, encode(events), SSE)) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.out.splitlines()[1:6] == ["  text", "  │ one", "  text", "  │ two", "  │ ::error::"]


def trickle(*pieces: bytes) -> Callable[[socket.socket, RawServer], None]:
    """Send the head of a stream, then each piece a moment after the one before."""

    def send(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for piece in pieces:
            connection.sendall(piece)
            server.over.wait(0.1)

    return send


def pieces_of(key: str, size: int) -> list[str]:
    return [key[start : start + size] for start in range(0, len(key), size)]


RANDOM_KEY = (
    "sk-ant-api03-q7Zt0Lw-9XcVb2NmK4jHg6FdSa8_PoIuYtReWqM"
    "nBvCxZlKjHgFdSaQwErTyUiOp3Lk5Jh7Gf1Ds6Az4Xs2Cd8Vf0Bg9Nh-AA"
)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 11, 12, 40])
@pytest.mark.parametrize("start", [0, 1, 13, 40])
def test_a_key_that_is_echoed_in_pieces_is_masked(size: int, start: int) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    screen = Screen(out, None, {})
    screen.mask.hide([Secret(RANDOM_KEY)])

    for piece in ["a key: ", *pieces_of(RANDOM_KEY[start:], size), " and ", RANDOM_KEY[30:70], "."]:
        screen.partial(piece)
    screen.end_partial()

    assert isinstance(out.buffer, io.BytesIO)
    shown = out.buffer.getvalue().decode()
    assert shown.startswith("  │ a key: ")
    assert shown.endswith(" and …h-AA.\n")
    for first in range(13, len(RANDOM_KEY) - 8):
        assert RANDOM_KEY[first : first + 8] not in shown


@pytest.mark.usefixtures("key")
def test_the_text_is_on_the_screen_before_the_stream_is_over() -> None:
    def send_when_shown(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        connection.sendall(encode([EVENTS[0], begin(0, type="text", text="")]))
        for word in ("one ", "two "):
            connection.sendall(encode([delta(0, type="text_delta", text=word)]))
            assert shown.acquire(timeout=5)
        connection.sendall(encode(EVENTS[-2:]))

    shown = threading.Semaphore(0)
    with serving(send_when_shown) as server:
        process = subprocess.Popen(
            [*PROGRAM, "--base-url", server.url, "--stream"], stdout=subprocess.PIPE, bufsize=0
        )
        assert process.stdout
        out = b""
        for word in (b"one ", b"two "):
            while word not in out:
                out += process.stdout.read(1)
            shown.release()
        out += process.stdout.read()

        assert process.wait(10) == 0
        process.stdout.close()

    assert "  │ one two \n✓ 200 OK in".encode() in out


def test_words_are_shown_at_once() -> None:
    screen_out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    screen = Screen(screen_out, None, {})
    screen.mask.hide([Secret(RANDOM_KEY)])

    screen.partial("Hello, this is")

    assert isinstance(screen_out.buffer, io.BytesIO)
    assert screen_out.buffer.getvalue().decode() == "  │ Hello, this is"


@pytest.mark.parametrize(
    ("last", "code"), [(EVENTS[-1], 0), (error("overloaded_error", "Overloaded"), 5)]
)
def test_a_stream_is_over_with_its_last_event(
    run: Run, key: str, last: dict[str, Any], code: int
) -> None:
    def stay_open(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream\r\n\r\n")
        connection.sendall(encode([*EVENTS[:-1], last]))
        hang(connection, server)

    with serving(stay_open) as server:
        started = time.monotonic()
        ran = run("--base-url", server.url, "--stream", "--timeout", "5")

    assert ran.code == code
    assert time.monotonic() - started < 3


def test_what_had_come_of_a_stream_is_in_the_report_of_a_timeout(run: Run, key: str) -> None:
    def stall(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        connection.sendall(encode(EVENTS[:9]))
        hang(connection, server)

    with serving(stall) as server:
        ran = run("--base-url", server.url, "--stream", "--json", "--timeout", "0.4")

    assert json.loads(ran.out)["response"]["body"]["content"][1]["text"] == "Grüße, "


def test_a_model_that_thinks_before_it_writes_is_not_taken_for_a_buffer(run: Run, key: str) -> None:
    def think(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        connection.sendall(encode(EVENTS[:2]))
        server.over.wait(1.2)
        connection.sendall(encode([begin(0, type="text", text="x" * 50), *EVENTS[-2:]]))

    with serving(think) as server:
        ran = run("--base-url", server.url, "--stream")

    assert (ran.code, ran.err) == (0, "")


def test_a_workflow_command_in_pieces_is_none() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    screen = Screen(out, None, {"GITHUB_ACTIONS": "true"})

    for piece in ["#", "#", "[error]x #"]:
        screen.partial(piece)
    screen.end_partial()

    assert isinstance(out.buffer, io.BytesIO)
    assert out.buffer.getvalue().decode() == "  │ ## [error]x #\n"


def test_a_stream_is_left_at_the_deadline(run: Run, key: str) -> None:
    def stall(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        connection.sendall(encode(EVENTS[:9]))
        hang(connection, server)

    with serving(stall) as server:
        ran = run("--base-url", server.url, "--stream", "--timeout", "0.4")

    assert ran.code == 6
    assert "timed out while reading the answer" in ran.err
    assert "  │ Grüße, " in ran.out


def test_a_text_in_pieces_is_one_text(run: Run, key: str) -> None:
    words = [encode([delta(0, type="text_delta", text=word)]) for word in ("one ", "two\n", "x")]
    head = encode([EVENTS[0], begin(0, type="text", text="")])
    with serving(trickle(head, *words, encode(EVENTS[-2:]))) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.out.splitlines()[1:4] == ["  text", "  │ one two", "  │ x"]


def test_a_stream_that_is_reset_is_a_network_failure(run: Run, key: str) -> None:
    def send_then_reset(connection: socket.socket, server: RawServer) -> None:
        trickle(encode(EVENTS[:9]))(connection, server)
        reset(connection, server)

    with serving(send_then_reset) as server:
        ran = run("--base-url", server.url, "--stream", "--json")

    report = json.loads(ran.out)
    assert ran.code == 6
    assert report["response"]["body"]["content"][1]["text"] == "Grüße, "
    assert report["timing"]["first_text"] > 0


def test_a_plain_answer_to_a_stream_is_the_answer_with_a_note(run: Run, key: str) -> None:
    with serving(answer()) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.code == 0
    assert "  │ pong" in ran.out
    assert "note: asked for a stream, but a plain answer came" in ran.err


def test_an_error_before_the_stream_is_an_error(run: Run, key: str) -> None:
    with serving(answer(401, error("authentication_error", "invalid x-api-key"))) as server:
        assert run("--base-url", server.url, "--stream").code == 4


def test_the_limit_counts_the_bytes_of_a_stream(run: Run, key: str) -> None:
    def flood(connection: socket.socket, _server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(40):
            connection.sendall(b": " + b"x" * (1 << 20) + b"\n")

    with serving(flood) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.code == 10
    assert "larger than 32 MiB" in ran.err


def test_a_stream_that_was_held_back_is_worth_a_note(run: Run, key: str) -> None:
    long = [EVENTS[0], begin(0, type="text", text="x" * 50), *EVENTS[-2:]]

    def buffer(connection: socket.socket, server: RawServer) -> None:
        server.over.wait(1.1)
        connection.sendall(answer(200, encode(long), SSE))

    with serving(buffer) as server:
        ran = run("--base-url", server.url, "--stream")

    assert ran.code == 0
    assert "something between here and the API buffers it" in ran.err


def test_raw_prints_the_events_themselves(key: str, run: Run, capsys: Any) -> None:
    with serving(answer(200, STREAM, SSE)) as server:
        ran = run("--base-url", server.url, "--stream", "--raw")

    assert ran.out.encode() == STREAM


def test_quiet_shows_no_text(run: Run, key: str) -> None:
    with serving(answer(200, STREAM, SSE)) as server:
        assert run("--base-url", server.url, "--stream", "-q") == (0, "", "")


@pytest.mark.parametrize("scenario", ["ok", "thinking", "tool_use", "truncated", "refusal"])
def test_a_simulated_stream_gives_the_same_body_as_a_plain_call(run: Run, scenario: str) -> None:
    plain = json.loads(run("--simulate", scenario, "--json").out)
    streamed = json.loads(run("--simulate", scenario, "--json", "--stream").out)

    assert streamed["response"]["body"] == plain["response"]["body"]
    assert (streamed["timing"]["first_text"] is None) is (scenario == "refusal")


def test_memory_does_not_grow_with_the_number_of_events() -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield encode([EVENTS[0], begin(0, type="text", text="")])
        for _ in range(count):
            yield encode([{"type": "ping"}, delta(0, type="text_delta", text="")]) * 10

    peaks = []
    for count in (100, 1000):
        tracemalloc.start()
        accumulate(chunks(count), Accumulator(), lambda *_: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] * 1.5
