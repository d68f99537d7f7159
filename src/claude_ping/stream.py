"""A streamed reply: bytes to server-sent events, events to the message they add up to. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Deltas that add to a text: which of their fields, and to which of the block's.
_ADDING_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
}
# Deltas whose fields take the place of the block's.
_REPLACING_DELTAS = ("signature_delta", "compaction_delta")


def events(chunks: Iterable[bytes]) -> Iterator[list[tuple[bool, bytes]]]:
    """Yield, chunk by chunk, the events it completes: whether each is named, and its data.

    The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    pieces: list[bytes] = []  # of the event that has begun
    is_return = False
    for chunk in filter(None, chunks):
        # A line's end of two characters may be split.
        data = chunk.removeprefix(b"\n") if is_return else chunk
        is_return = data.endswith(b"\r")
        completed = []
        # Of bytes, splitlines knows no line ends but the three of the format.
        for piece in data.splitlines(keepends=True):
            is_whole = not pieces or pieces[-1].endswith((b"\r", b"\n"))
            if is_whole and piece in (b"\r", b"\n", b"\r\n"):
                completed += _dispatched(pieces)
                pieces.clear()
            else:
                pieces.append(piece)
        yield completed
    yield _dispatched(pieces)


def _dispatched(pieces: list[bytes]) -> list[tuple[bool, bytes]]:
    lines = b"".join(pieces).removeprefix(b"\xef\xbb\xbf").splitlines()
    fields = [line.partition(b":") for line in lines]
    data = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    is_named = any(name == b"event" for name, _, _ in fields)
    return [(is_named, b"\n".join(data))] if data else []


class Accumulator:
    """Adds events up to the message that the same call would have given without a stream."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.error: dict[str, Any] | None = None
        self.is_complete = False
        self.new_texts: dict[int, str] = {}  # what is new, by text block; the reader empties it
        self._parse = parse  # JSON text to its value; None where it is not JSON
        self._message: dict[str, Any] | None = None
        # Each block, and the pieces of its growing fields.
        self._blocks: dict[int, tuple[dict[str, Any], dict[str, list[str]]]] = {}

    def add(self, event: dict[str, Any]) -> None:
        """Take one event in."""
        kind, index = event.get("type"), event.get("index")
        message, block, delta = map(event.get, ("message", "content_block", "delta"))
        if kind == "message_start" and isinstance(message, dict):
            self._message, self._blocks, self.is_complete = dict(message), {}, False
        elif kind == "message_delta" and self._message is not None:
            _finish(self._message, delta, event.get("usage"))
        elif kind == "message_stop":
            self.is_complete = bool(self._message and self._message.get("stop_reason"))
        elif kind == "error" or (kind is None and "error" in event):
            self.error = event
        elif not isinstance(index, int):
            return
        elif kind == "content_block_start" and isinstance(block, dict):
            self._blocks[index] = dict(block), {}
            if block.get("type") == "text":
                self._note(index, block.get("text"))
        elif kind == "content_block_delta" and index in self._blocks and isinstance(delta, dict):
            self._extend(index, delta)

    def _note(self, index: int, text: object) -> None:
        if isinstance(text, str):
            self.new_texts[index] = self.new_texts.get(index, "") + text

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        (block, texts), kind = self._blocks[index], str(delta.get("type"))
        if kind in _REPLACING_DELTAS:
            block.update({name: value for name, value in delta.items() if name != "type"})
        elif kind == "citations_delta":
            begun = block.get("citations")
            earlier = begun if isinstance(begun, list) else []
            block["citations"] = [*earlier, delta.get("citation")]
        elif kind in _ADDING_DELTAS:
            source, field = _ADDING_DELTAS[kind]
            begun, added = block.get(field), delta.get(source)
            pieces = texts.setdefault(field, [begun] if isinstance(begun, str) else [])
            pieces += [added] if isinstance(added, str) else []
            if field == "text":
                self._note(index, added)

    def result(self) -> dict[str, Any] | None:
        """Return the message so far; None if it has not begun."""
        if self._message is None:
            return None
        content = []
        # Copies, because a deadline asks for what there is while more may be added.
        for _, (block, growing) in sorted(self._blocks.copy().items()):
            texts = {name: "".join(pieces) for name, pieces in growing.copy().items()}
            content.append({**block, **texts})
            if "input" in texts:  # of a tool; what was cut short stays text
                value = self._parse(texts["input"] or "{}")
                content[-1]["input"] = texts["input"] if value is None else value
        return {**self._message, "content": content or self._message.get("content", [])}


def _finish(message: dict[str, Any], delta: object, usage: object) -> None:
    """Take over what a message_delta says; its counts are cumulative and replace those before."""
    if isinstance(delta, dict):
        message.update(delta)
    if isinstance(usage, dict):
        begun = message.get("usage")
        given = {name: value for name, value in usage.items() if value is not None}
        message["usage"] = {**(begun if isinstance(begun, dict) else {}), **given}
