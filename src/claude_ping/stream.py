"""A streamed reply: bytes to server-sent events, events to the message they add up to. No I/O.

The format of events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from claude_ping.records import members

# Which field a delta adds to; the JSON of a tool's input is that only as a whole.
_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def events(chunks: Iterable[bytes]) -> Iterator[list[tuple[bool, bytes]]]:
    """Yield, chunk by chunk, the events it completes: whether each is named, and its data."""
    pieces: list[bytes] = []  # of the event that has begun
    is_return = False
    # A last event without its blank line counts: some gateways end so.
    for chunk in chain(filter(None, chunks), [b"\n\n"]):
        # A line's end of two characters may be split.
        received = chunk.removeprefix(b"\n") if is_return else chunk
        is_return = received.endswith(b"\r")
        completed = []
        # Of bytes, splitlines knows no line ends but the three of the format.
        for piece in received.splitlines(keepends=True):
            is_whole = not pieces or pieces[-1].endswith((b"\r", b"\n"))
            if not is_whole or piece not in (b"\r", b"\n", b"\r\n"):
                pieces.append(piece)
                continue
            lines = b"".join(pieces).removeprefix(b"\xef\xbb\xbf").splitlines()
            pieces = []
            fields = [line.partition(b":") for line in lines]
            data = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
            if data:
                is_named = any(name == b"event" for name, _, _ in fields)
                completed.append((is_named, b"\n".join(data)))
        yield completed


class Accumulator:
    """Adds events up to the message that the same call would have given without a stream."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.error: dict[str, Any] | None = None
        self.is_complete = False
        self.new_texts: dict[int, str] = {}  # what is new, by text block; the reader empties it
        self._parse = parse  # JSON text to its value; None where it is not JSON
        self._message: dict[str, Any] = {}  # empty until it has begun
        # Each block, and the pieces of its growing fields.
        self._blocks: dict[int, tuple[dict[str, Any], dict[str, list[str]]]] = {}

    def add(self, event: dict[str, Any]) -> None:
        """Take one event in."""
        kind, index, message = event.get("type"), event.get("index"), self._message
        if kind == "message_start":
            self._message, self._blocks, self.is_complete = members(event.get("message")), {}, False
        elif kind == "message_delta" and message:
            usage = members(event.get("usage"))  # its counts are cumulative
            given = {name: value for name, value in usage.items() if value is not None}
            message |= members(event.get("delta"))
            message["usage"] = members(message.get("usage")) | given
        elif kind == "message_stop":
            self.is_complete = bool(message.get("stop_reason"))
        elif kind == "error" or (kind is None and "error" in event):
            self.error = event
        elif kind == "content_block_start" and isinstance(index, int):
            block = members(event.get("content_block"))
            self._blocks[index] = block, {}
            if block.get("type") == "text":
                self._extend(index, {"type": "text_delta", "text": block.pop("text", "")})
        elif kind == "content_block_delta" and isinstance(index, int) and index in self._blocks:
            self._extend(index, members(event.get("delta")))

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        (block, growing), kind = self._blocks[index], str(delta.get("type"))
        if kind in ("signature_delta", "compaction_delta"):
            block |= {**delta, "type": block.get("type")}
        elif kind == "citations_delta":
            begun = block.get("citations")
            begun = begun if isinstance(begun, list) else []
            block["citations"] = [*begun, delta.get("citation")]
        elif field := _GROWING.get(kind):
            begun, added = block.get(field), delta.get(field)
            pieces = growing.setdefault(field, [begun] if isinstance(begun, str) else [])
            pieces.append(added if isinstance(added, str) else "")
            if field == "text":
                self.new_texts[index] = self.new_texts.get(index, "") + pieces[-1]

    def result(self) -> dict[str, Any] | None:
        """Return the message so far; None if it has not begun."""
        content = []
        # Copies, because a deadline asks for what there is while more may be added.
        for _, (block, growing) in sorted(self._blocks.copy().items()):
            texts: dict[str, Any] = {name: "".join(some) for name, some in growing.copy().items()}
            if (text := texts.pop("partial_json", None)) is not None:  # cut short, it stays text
                value = self._parse(text or "{}")
                texts["input"] = text if value is None else value
            content.append({**block, **texts})
        whole = {**self._message, "content": content or self._message.get("content", [])}
        return whole if self._message else None
