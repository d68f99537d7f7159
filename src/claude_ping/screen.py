"""The two output streams: nothing secret and nothing unprintable gets through."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import TextIO

from claude_ping import render
from claude_ping.masking import Mask
from claude_ping.render import Look, ansi, plain

_ASCII_MARKS = {"✓": "[ok]", "✗": "[failed]", "│": "|", "•": "*", "…": "...", "▇": "#"}


class Screen:
    """Standard output and standard error, which are often one terminal."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self._out, self._err = out, err
        self._environ = environ
        self.mask = Mask()
        self._is_quiet = False
        self.is_in_github_actions = environ.get("GITHUB_ACTIONS") == "true"
        self.out_failure: str | None = None  # why the report could not be written
        self._has_tick = False
        self._pending = ""  # streamed text that may go on to be a secret
        self._shown = ""  # streamed text before it, as far back as a secret may begin
        self._is_in_line = False
        for stream in (out, err):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self.configure()

    def configure(self, *, coloured: bool = True, quiet: bool = False) -> None:
        """Decide how each stream looks, and whether notes are shown."""
        self.out_look = self._look(self._out, allowed=coloured)
        self.err_look = self._look(self._err, allowed=coloured)
        self._is_quiet = quiet

    def _look(self, stream: TextIO | None, *, allowed: bool) -> Look:
        is_terminal = _is_terminal(stream)
        forced = self._environ.get("FORCE_COLOR", "0") not in ("", "0")
        wanted = forced or (is_terminal and self._environ.get("TERM") != "dumb")
        coloured = allowed and wanted and not self._environ.get("NO_COLOR")
        width = os.get_terminal_size(stream.fileno()).columns if stream and is_terminal else 0
        return Look(ansi if coloured else plain, width or None)

    def out(self, text: str) -> None:
        """Print a part of the answer."""
        self._erase_tick()
        self._write(self._out, text + "\n")

    def document(self, text: str) -> None:
        """Print a document whose values have been scrubbed one by one."""
        self._write(self._out, text + "\n", is_clean=True)

    def partial(self, text: str) -> None:
        """Print text of the network behind the gutter as it arrives, whole lines or not."""
        self._pending += text
        held = self.mask.held(self._shown + self._pending)
        if self.is_in_github_actions:  # what could begin a workflow command
            held = max(held, len(self._pending) - len(self._pending.rstrip("#")))
        self._release(max(len(self._pending) - held, 0))

    def end_partial(self) -> None:
        """End the line that is being shown, if any."""
        self._release(len(self._pending))
        self._shown = ""
        if self._is_in_line:
            self._is_in_line = False
            self._write(self._out, "\n")

    def _release(self, count: int) -> None:
        ready, self._pending = self._pending[:count], self._pending[count:]
        if ready:
            self._write_partial(self.mask.scrub(self._shown + ready, len(self._shown)))
            self._shown = (self._shown + ready)[-self.mask.longest :]

    def _write_partial(self, text: str) -> None:
        self._erase_tick()
        bar = f"  {self.out_look.paint('dim', '│')} "
        lines = render.visible(text).split("\n")
        start = "" if self._is_in_line else bar
        self._is_in_line = True
        self._write(self._out, start + f"\n{bar}".join(lines))

    def err(self, text: str) -> None:
        """Print what is said about it."""
        self._erase_tick()
        self._write(self._err, text + "\n")

    def raw(self, data: bytes) -> None:
        """Print a body as it was received, but for secrets."""
        text = data.decode("utf-8", "surrogateescape")
        if self._out is not None:
            with self._failure_noted(self._out):
                self._out.buffer.write(self._safe(text).encode("utf-8", "surrogateescape"))
                self._out.flush()

    def command(self, text: str) -> None:
        """Print a workflow command of GitHub Actions."""
        self._erase_tick()
        self._write(self._err, text + "\n", is_command=True)

    def remark(self, text: str) -> None:
        """Print what quiet runs leave out."""
        if not self._is_quiet:
            self.err(text)

    def note(self, kind: str, text: str) -> None:
        """Print a note or a warning."""
        self.remark(render.note(kind, text, self.err_look))

    def tick(self, text: str) -> None:
        """Show on a terminal that the run is alive, on a line that the next output replaces."""
        if _is_terminal(self._err) and not (self._is_quiet or self._is_in_line):
            self._erase_tick()
            width = self.err_look.width
            self._write(self._err, f"  {text}"[: width - 1 if width else None])
            self._has_tick = True

    def _erase_tick(self) -> None:
        if self._has_tick:
            self._has_tick = False
            self._write(self._err, "\r\x1b[K")

    def _safe(self, text: str, *, is_command: bool = False) -> str:
        """Mask secrets, and keep what came from the network from being a workflow command."""
        text = self.mask.scrub(text)
        if self.is_in_github_actions:
            text = text.replace("##[", "## [")
            text = text if is_command else re.sub(r"(?m)^([^\S\n]*:)(?=:)", r"\1 ", text)
        return text

    def _write(
        self, stream: TextIO | None, text: str, *, is_command: bool = False, is_clean: bool = False
    ) -> None:
        if stream is None:  # closed before we began
            return
        text = text if is_clean else self._safe(text, is_command=is_command)
        if not _can_show_marks(stream):
            text = "".join(_ASCII_MARKS.get(character, character) for character in text)
        with self._failure_noted(stream):
            stream.write(text)
            stream.flush()

    def close(self) -> None:
        """Flush both streams."""
        self._erase_tick()
        for stream in (self._out, self._err):
            if stream is not None:
                with self._failure_noted(stream):
                    stream.flush()

    @contextlib.contextmanager
    def _failure_noted(self, stream: TextIO) -> Iterator[None]:
        """Go on without a stream that fails; a reader that has gone away is no failure."""
        try:
            yield
        except OSError as error:
            if stream is self._out and not isinstance(error, BrokenPipeError):
                self.out_failure = error.strerror
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
