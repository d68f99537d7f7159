"""The last filter over all output: what must not be shown, in any form that text carries it in."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from claude_ping.records import Secret
from claude_ping.render import visible

MIN_HIDDEN = 6  # characters; masking a shorter value would garble every output
MIN_HELD = 4  # characters that text shares with a key by chance hardly ever
PIECE = 12  # characters that no text shares with a key by chance
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Mask:
    """Knows the secrets of a run and takes them out of text."""

    def __init__(self) -> None:
        self._masks: dict[str, str] = {}

    def hide(self, secrets: Iterable[Secret]) -> None:
        """Mask these values from here on."""
        for secret in secrets:
            if len(secret) >= MIN_HIDDEN:
                for form in _forms(secret.reveal()):
                    self._masks[form.translate(_ASCII_LOWER)] = str(secret)

    def scrub(self, text: str, start: int = 0) -> str:
        """Return the text, from `start` on, with masks in place of secrets.

        What stands before `start` has been shown already and only tells what follows it.
        """
        lowered = text.translate(_ASCII_LOWER)
        runs = [
            (first, stop, mask)
            for form, mask in self._masks.items()
            for first, stop in _runs(lowered, form)
            if stop > start
        ]
        parts, end = [], start
        # Of runs that begin together the longest comes first; what it covers is masked once.
        for first, stop, mask in sorted(runs, key=lambda run: (run[0], -run[1])):
            if first >= end or end == start:
                parts += [text[end:first], mask]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def held(self, text: str) -> int:
        """Return how many characters at the end of the text may go on to be a secret."""
        tail = text.translate(_ASCII_LOWER)
        length = MIN_HELD
        while length <= len(tail) and any(tail[-length:] in form for form in self._masks):
            length += 1
        return length - 1 if length > MIN_HELD else 0

    @property
    def longest(self) -> int:
        """How many characters the longest form of a secret has."""
        return max(map(len, self._masks), default=0)


def _forms(value: str) -> set[str]:
    data = value.encode("utf-8", "surrogateescape")
    return {
        value,
        visible(value),
        json.dumps(value)[1:-1],
        quote(data, safe=""),
        binascii.b2a_base64(data, newline=False).decode().rstrip("="),
        data.hex(),
    }


def _runs(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield where the text holds the form; of a long one any 2 * PIECE characters of it will do.

    Its beginning alone does not count: that is the public prefix of its kind.
    """
    for offset in range(PIECE, len(form) - PIECE + 1, PIECE) or [0]:
        piece = form[offset : offset + PIECE] if offset else form
        found = text.find(piece)
        while found >= 0:
            origin = found - offset  # where the whole form would begin
            start, stop = found, found + len(piece)
            while start > max(origin, 0) and text[start - 1] == form[start - 1 - origin]:
                start -= 1
            while stop < min(origin + len(form), len(text)) and text[stop] == form[stop - origin]:
                stop += 1
            yield start, stop
            found = text.find(piece, stop)
