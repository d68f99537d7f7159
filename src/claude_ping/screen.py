"""The two output streams: nothing secret and nothing unprintable gets through."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO
from urllib.parse import quote

from claude_ping import render
from claude_ping.records import Secret
from claude_ping.render import Look, ansi, plain, visible

_ASCII_MARKS = {"✓": "[ok]", "✗": "[failed]", "│": "|", "•": "*", "…": "..."}


class Screen:
    """Standard output and standard error, which are often one terminal."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self._out, self._err = out, err
        self._environ = environ
        self._hidden: dict[str, str] = {}
        self._has_tick = False
        for stream in (out, err):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self.set_colours()

    def set_colours(self, *, allowed: bool = True) -> None:
        """Decide how each stream looks."""
        self.out_look = self._look(self._out, allowed=allowed)
        self.err_look = self._look(self._err, allowed=allowed)

    def _look(self, stream: TextIO | None, *, allowed: bool) -> Look:
        is_terminal = _is_terminal(stream)
        forced = self._environ.get("FORCE_COLOR", "0") not in ("", "0")
        wanted = forced or (is_terminal and self._environ.get("TERM") != "dumb")
        coloured = allowed and wanted and not self._environ.get("NO_COLOR")
        width = os.get_terminal_size(stream.fileno()).columns if stream and is_terminal else 0
        return Look(ansi if coloured else plain, width or None)

    def hide(self, secrets: Iterable[Secret]) -> None:
        """Show these values as masks from here on, in every form that text carries them in."""
        for secret in secrets:
            value = secret.reveal()
            for form in (value, visible(value), json.dumps(value)[1:-1], quote(value, safe="")):
                self._hidden[form] = str(secret)

    def scrub(self, text: str) -> str:
        """Return the text with masks for secrets, the longest first."""
        for value in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(value, self._hidden[value])
        return text

    def out(self, text: str) -> None:
        """Print a part of the answer."""
        self._erase_tick()
        self._write(self._out, text + "\n")

    def err(self, text: str) -> None:
        """Print what is said about it."""
        self._erase_tick()
        self._write(self._err, text + "\n")

    def note(self, kind: str, text: str) -> None:
        """Print a note or a warning."""
        self.err(render.note(kind, text, self.err_look))

    def tick(self, text: str) -> None:
        """Show on a terminal that the run is alive, on a line that the next output replaces."""
        if _is_terminal(self._err):
            self._erase_tick()
            self._write(self._err, f"  {text}")
            self._has_tick = True

    def _erase_tick(self) -> None:
        if self._has_tick:
            self._has_tick = False
            self._write(self._err, "\r" + " " * 60 + "\r")

    def _write(self, stream: TextIO | None, text: str) -> None:
        if stream is None:  # closed before we began
            return
        text = self.scrub(text)
        if not _can_show_marks(stream):
            text = "".join(_ASCII_MARKS.get(character, character) for character in text)
        with _closed_pipe_ignored(stream):
            stream.write(text)
            stream.flush()

    def close(self) -> None:
        """Flush both streams; a reader that has gone away is no failure of the ping."""
        self._erase_tick()
        for stream in (self._out, self._err):
            if stream is not None:
                with _closed_pipe_ignored(stream):
                    stream.flush()


@contextlib.contextmanager
def _closed_pipe_ignored(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # What is still buffered would fail again, noisily, when the interpreter ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _can_show_marks(stream: TextIO) -> bool:
    try:
        "".join(_ASCII_MARKS).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
