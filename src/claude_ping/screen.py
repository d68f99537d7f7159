"""Text in and out, and the one mask: nothing secret and nothing unprintable gets through."""

from __future__ import annotations

import codecs
import io
import os
import re

TYPE_CHECKING = False  # typing's own would import typing, which --help does without
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TextIO

MIN_MASKED = 8  # characters; masking a shorter value would garble every output
ANTHROPIC_KEY, MASKED = r"sk-ant-[\w-]{8,300}", "sk-ant-…"
_ASCII_MARKS = str.maketrans(
    {"✓": "[ok]", "✗": "[x]", "│": "|", "•": "*", "…": "...", "▇": "#", "▏": "|", "·": "-"}
)
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_PLAIN = "claude-ping"  # the error handler of our streams
_COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
_BLANKS = {"\n": "line break", "\r": "carriage return (of Windows)", "\t": "tab", " ": "space"}
# Control characters, lone surrogates and whatever turns the direction of text around.
_INVISIBLE = r"[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def visible(text: str) -> str:
    """Show control characters other than newline and tab as escapes."""
    if text.isprintable():
        return text
    return re.sub(_INVISIBLE, lambda match: repr(match[0])[1:-1], text)


def inline(value: object) -> str:
    """Show any value in one line."""
    if not isinstance(value, str):
        import json  # noqa: PLC0415 not for --help

        value = json.dumps(value, ensure_ascii=False)
    return visible(value).replace("\n", "\\n").replace("\t", "\\t")


def unprintable(text: str, allowed: str = " \t") -> str | None:
    """Name the first character that is neither visible ASCII nor allowed, and its position."""
    found = re.search(f"[^!-~{allowed}]", text)
    if found is None:
        return None
    from unicodedata import name  # noqa: PLC0415 a large table

    known = name(found[0], "control character").lower().replace("zero width", "zero-width")
    called = _BLANKS.get(found[0], f"{known} (U+{ord(found[0]):04X})")
    if found.start() == len(text.rstrip()):
        return f"ends with a {called}"
    return f"contains a {called} at position {found.end()} of {len(text)}"


def read_text(file: str | int, most: int) -> str:
    """Return what a file, by path or descriptor, holds; ValueError says why it is not used."""
    try:
        with open(file, "rb", closefd=file != 0) as opened:
            data = opened.read(most + 1)
        text = data[:most].decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text (UTF-16?)") from None
    except (OSError, ValueError) as error:  # the latter of a path
        raise ValueError(getattr(error, "strerror", None) or str(error)) from None
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 10} KiB")
    if "\0" in text:
        raise ValueError("it holds NUL characters (UTF-16?)")
    return text


class Mask:
    """Takes secrets out of text from outside: exact values, and whatever looks like a key."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}  # each form of a secret, and what stands for it

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Show other texts for these from here on, also as JSON and percent-encoding write them."""
        import json  # noqa: PLC0415 not for --help
        from urllib.parse import quote  # noqa: PLC0415

        for value, shown in secrets.items():
            for part in {value, *value.split()}:
                forms = [
                    json.dumps(part, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)
                ]
                forms += [quote(part, safe, errors="surrogateescape") for safe in ("/", "")]
                if len(part) >= MIN_MASKED:
                    self.shown |= dict.fromkeys([part, *forms], visible(shown))

    def __call__(self, text: str) -> str:
        """Return the text with masks in place of secrets."""
        held = [form for form in self.shown if form in text]
        if "sk-ant-" not in text and not held:
            return text
        # Of secrets that begin together the longest is masked.
        forms = map(re.escape, sorted(held, key=len, reverse=True))
        pattern = "|".join([*forms, ANTHROPIC_KEY])
        return re.sub(pattern, lambda match: self.shown.get(match[0], MASKED), text, flags=re.ASCII)


mask = Mask()  # one, because no text of this process may hold its secrets


class Screen:
    """Standard output and standard error, which are often one terminal."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        mask.shown.clear()  # of an earlier run in this process
        # A stream that was closed before we began is None.
        self._out, self._err = out or io.StringIO(), err or io.StringIO()
        for stream in (self._out, self._err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=_PLAIN)
        self.paint, self.paint_err = _painter(self._out, environ), _painter(self._err, environ)
        self.is_in_github_actions = environ.get("GITHUB_ACTIONS") == "true"
        self._is_on_runner = self.is_in_github_actions or bool(environ.get("TF_BUILD"))
        self._shows_ticks = self._err.isatty() and environ.get("TERM") != "dumb"
        self._has_tick = False
        self._pending: list[str] = []  # streamed text whose last word is not finished
        self._is_in_line = False
        self._block: int | None = None  # the text block that is being shown
        self.out_failure: str | None = None  # why the report could not be written

    def out(self, text: str) -> None:
        """Print a part of the answer."""
        self._end_line()
        self._write(self._out, text + "\n")

    def err(self, text: str, *, is_command: bool = False) -> None:
        """Print what is said about it, or a workflow command of GitHub Actions."""
        self._end_line()
        self._write(self._err, text + "\n", is_command=is_command)

    def last_words(self, text: str) -> None:
        """Print a line on standard error alone: who reads the rest may have stopped reading."""
        line_break = "\n" * (self._is_in_line and self._err.isatty())
        self._pending, self._is_in_line = [], False
        self.err(line_break + inline(text))

    def raw(self, data: bytes) -> None:
        """Print a body as it was received, but for secrets; nothing that steers a terminal."""
        text = mask(data.decode("utf-8", "surrogateescape"))
        if self._out.isatty():
            text = visible(text).removesuffix("\n") + "\n"
        elif isinstance(self._out, io.TextIOWrapper):
            self._out.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
        self._write(self._out, text)

    def partial(self, block: int, text: str) -> None:
        """Print a block's text behind the gutter as it arrives, whole words only."""
        if block != self._block:
            self.out(f"  {self.paint('bold', 'text')}")
            self._block = block
        self._pending.append(text)
        # What may go on to be a secret or a runner's command is visible ASCII.
        word = text[len(text.rstrip(_VISIBLE_ASCII)) :]
        if word != text:
            self._release(held=len(word))

    def _release(self, *, held: int = 0) -> None:
        text = "".join(self._pending)
        ready = text[: len(text) - held]
        self._pending = [text[len(ready) :]]
        if ready:
            bar = f"  {self.paint('dim', '│')} "
            lines = visible(mask(ready)).replace("\n", f"\n{bar}")
            self._write(self._out, lines if self._is_in_line else bar + lines)
            self._is_in_line = True

    def _end_line(self) -> None:
        self._release()
        if self._is_in_line:
            self._is_in_line = False
            self._write(self._out, "\n")

    def tick(self, text: str) -> None:
        """Show on a terminal that the run is alive, on a line that the next output replaces."""
        if self._shows_ticks and not self._is_in_line:
            self._write(self._err, f"  {text}")
            self._has_tick = True

    def _write(self, stream: TextIO, text: str, *, is_command: bool = False) -> None:
        """Go on without a stream that fails; a reader that has gone away is no failure."""
        if self._has_tick:
            self._has_tick = False
            self._write(self._err, "\r\x1b[K")
        if self._is_on_runner:  # which takes commands from what it reads
            text = re.sub(r"##(?=\[|vso\[)", "## ", text)
        if self._is_on_runner and not is_command:
            text = re.sub(r"(?:\A|[\n\r])[^\S\n\r]*:(?=:)", r"\g<0> ", text)
        # The last line of defence: no word of our own looks like a key.
        text = re.sub(ANTHROPIC_KEY, MASKED, text)
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            if stream is self._out and not isinstance(error, BrokenPipeError):
                self.out_failure = error.strerror
            # What is still buffered would fail again, noisily, with the next write.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _painter(stream: TextIO, environ: Mapping[str, str]) -> Callable[[str, str], str]:
    """Return what colours text where the stream shows colours."""
    is_forced = environ.get("FORCE_COLOR", "0") not in ("", "0")
    is_wanted = is_forced or (stream.isatty() and environ.get("TERM") != "dumb")
    if not is_wanted or environ.get("NO_COLOR"):
        return lambda _style, text: text
    return lambda style, text: f"\x1b[{_COLOURS[style]}m{text}\x1b[0m"


def _plain(error: Any) -> tuple[str | bytes, int]:
    """Return ASCII for one of our marks that an encoding lacks, an escape for anything else."""
    error.end = error.start + 1
    mark = _ASCII_MARKS.get(ord(error.object[error.start]))
    return (mark, error.end) if mark else codecs.backslashreplace_errors(error)


codecs.register_error(_PLAIN, _plain)
