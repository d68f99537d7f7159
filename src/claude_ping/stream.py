"""A streamed reply: bytes to server-sent events, events to the message they add up to. No I/O."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse_constant(text)
    return number


STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
# Which field of a block a delta's field adds to.
_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking"}


class Decoder:
    """Splits bytes into events, wherever the network has cut them.

    The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self) -> None:
        self._held = b""  # a carriage return that may be half of a line's end
        self._line: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Yield the JSON of every event that the chunk completes."""
        chunk, self._held = self._held + chunk, b""
        if chunk.endswith(b"\r"):
            chunk, self._held = chunk[:-1], b"\r"
        # Of bytes, splitlines knows no line ends but the three of the format.
        for part in chunk.splitlines(keepends=True):
            self._line.append(part)
            if part[-1] in b"\r\n":
                yield from self._end_line()

    def close(self) -> Iterator[Any]:
        """Yield the last event, if no blank line followed it."""
        yield from self._end_line()
        yield from self._end_line()

    def _end_line(self) -> Iterator[Any]:
        line = b"".join(self._line).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
        self._line.clear()
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        if line or not self._data:
            return
        data = b"\n".join(self._data)
        self._data.clear()
        try:
            yield STRICT_JSON.decode(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):  # an event of some other kind
            return


class Accumulator:
    """Adds events up to the message that the same call would have given without a stream."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.is_complete = False
        self._blocks: dict[int, dict[str, Any]] = {}
        # One growing buffer a field: lists of pieces would grow with the number of events.
        self._texts: dict[tuple[int, str], io.StringIO] = {}
        self._inputs: dict[int, io.StringIO] = {}

    def add(self, event: object) -> tuple[int, str] | None:
        """Take one event in; return the index of a text block and what it adds to its text."""
        if not isinstance(event, dict):
            return None
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self.message = dict(event["message"])
            self._blocks.clear()
            self._texts.clear()
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            return self._begin(event.get("index"), dict(event["content_block"]))
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            return self._extend(event.get("index"), event["delta"])
        elif kind == "message_delta" and self.message is not None:
            _finish(self.message, event)
        elif kind == "message_stop":
            self.is_complete = bool(self.message and self.message.get("stop_reason"))
        elif kind == "error":
            self.error = event
        return None

    def _begin(self, index: object, block: dict[str, Any]) -> tuple[int, str] | None:
        if not isinstance(index, int):
            return None
        self._blocks[index] = block
        for field in _TEXT_DELTAS.values():
            self._texts.pop((index, field), None)
        text = block.get("text")
        return (index, text) if block.get("type") == "text" and isinstance(text, str) else None

    def _extend(self, index: object, delta: dict[str, Any]) -> tuple[int, str] | None:
        if not isinstance(index, int) or index not in self._blocks:
            return None
        block, kind = self._blocks[index], delta.get("type")
        if kind == "citations_delta" and not isinstance(block.get("citations"), list):
            block["citations"] = []
        if kind == "signature_delta":
            block["signature"] = delta.get("signature")
        elif kind == "citations_delta":
            block["citations"].append(delta.get("citation"))
        elif kind == "input_json_delta":
            self._inputs.setdefault(index, io.StringIO()).write(_text(delta.get("partial_json")))
        elif isinstance(kind, str) and kind in _TEXT_DELTAS:
            field = _TEXT_DELTAS[kind]
            text = _text(delta.get(field))
            if (index, field) not in self._texts:
                self._texts[index, field] = io.StringIO()
                self._texts[index, field].write(_text(block.get(field)))
            self._texts[index, field].write(text)
            return (index, text) if text and field == "text" else None
        return None

    def result(self) -> dict[str, Any] | None:
        """Return the message so far; None if it has not begun."""
        if self.message is None:
            return None
        # Lists, because a deadline asks for what there is while more is being added.
        for (index, field), buffer in list(self._texts.items()):
            self._blocks[index][field] = buffer.getvalue()
        for index in set(self._inputs) & set(self._blocks):
            self._blocks[index]["input"] = _tool_input(self._inputs[index].getvalue())
        content = [block for _, block in sorted(self._blocks.items())]
        return {**self.message, "content": content or self.message.get("content", [])}


def _finish(message: dict[str, Any], event: dict[str, Any]) -> None:
    """Take over what a message_delta says; its counts are cumulative and replace those before."""
    delta, usage = event.get("delta"), event.get("usage")
    if isinstance(delta, dict):
        message.update(delta)
    if isinstance(usage, dict):
        begun = message.get("usage")
        given = {name: value for name, value in usage.items() if value is not None}
        message["usage"] = {**(begun if isinstance(begun, dict) else {}), **given}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tool_input(text: str) -> Any:
    """Parse the input of a tool; keep as text what was cut short."""
    try:
        return STRICT_JSON.decode(text) if text else {}
    except (ValueError, RecursionError):
        return text


def accumulate(
    chunks: Iterable[bytes],
    accumulator: Accumulator,
    on_text: Callable[[int, str], None],
    *,
    to_the_end: bool = True,
) -> None:
    """Read a stream, calling `on_text` with each block's new text as it arrives.

    A connection may stay open after the last event: only a body that has told its length
    is read to the end.
    """
    decoder = Decoder()

    def take(events: Iterable[Any]) -> None:
        # What arrives together is shown together.
        new: dict[int, list[str]] = {}
        for event in events:
            if added := accumulator.add(event):
                new.setdefault(added[0], []).append(added[1])
        for index, texts in new.items():
            on_text(index, "".join(texts))

    for chunk in chunks:
        take(decoder.feed(chunk))
        if not to_the_end and (accumulator.is_complete or accumulator.error is not None):
            return
    take(decoder.close())
