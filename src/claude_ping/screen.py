"""The two output streams and the one mask: nothing secret and nothing unprintable gets through."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False  # typing's own would import typing, which --help does without
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

MIN_MASKED = 8  # characters; masking a shorter value would garble every output
ANTHROPIC_KEY, MASKED = r"sk-ant-[\w-]{8,300}", "sk-ant-…"
_ASCII_MARKS = {
    "✓": "[ok]",
    "✗": "[x]",
    "│": "|",
    "•": "*",
    "…": "...",
    "▇": "#",
    "▏": "|",
    "·": "-",
}
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
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
    name = _BLANKS.get(found[0])
    if name is None:
        from unicodedata import name as name_of  # noqa: PLC0415 a large table

        known = name_of(found[0], "control character").lower().replace("zero width", "zero-width")
        name = f"{known} (U+{ord(found[0]):04X})"
    if found.start() == len(text.rstrip()):
        return f"ends with a {name}"
    return f"contains a {name} at position {found.end()} of {len(text)}"


class Mask:
    """Takes secrets out of text from outside: exact values, and whatever looks like a key."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}  # each form of a secret, and what stands for it

    def forget(self) -> None:
        """Begin with no secrets."""
        self._shown.clear()

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Show other texts for these from here on, also as JSON and percent-encoding write them."""
        for value, shown in secrets.items():
            for part in {value, *value.split()}:
                if len(part) >= MIN_MASKED:
                    self._shown |= dict.fromkeys(_forms(part), visible(shown))

    def __call__(self, text: str) -> str:
        """Return the text with masks in place of secrets."""
        found = self.pattern(text)
        return found.sub(lambda match: self._shown.get(match[0], MASKED), text) if found else text

    def pattern(self, text: str) -> re.Pattern[str] | None:
        """Return what finds the secrets that the text holds; None where it holds none."""
        held = [form for form in self._shown if form in text]
        if "sk-ant-" not in text and not held:
            return None
        # Of secrets that begin together the longest is masked.
        forms = map(re.escape, sorted(held, key=len, reverse=True))
        return re.compile("|".join([*forms, ANTHROPIC_KEY]), re.ASCII)


mask = Mask()  # one, because no text of this process may hold its secrets


def _forms(value: str) -> set[str]:
    import json  # noqa: PLC0415 not for --help
    from urllib.parse import quote  # noqa: PLC0415

    data = value.encode("utf-8", "surrogateescape")
    as_json = {json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return {value, *as_json, quote(data), quote(data, safe="")}


class Screen:
    """Standard output and standard error, which are often one terminal."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self._out, self._err = out, err
        self.paint, self.paint_err = _painter(out, environ), _painter(err, environ)
        mask.forget()  # of an earlier run in this process
        self.is_in_github_actions = environ.get("GITHUB_ACTIONS") == "true"
        self._is_on_runner = self.is_in_github_actions or bool(environ.get("TF_BUILD"))
        self._shows_ticks = _is_terminal(err) and environ.get("TERM") != "dumb"
        self._has_tick = False
        self._pending: list[str] = []  # streamed text whose last word is not finished
        self._is_in_line = False
        self._block: int | None = None  # the text block that is being shown
        self.out_failure: str | None = None  # why the report could not be written
        for stream in (out, err):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def out(self, text: str) -> None:
        """Print a part of the answer."""
        self._end_line()
        self._write(self._out, text + "\n")

    def err(self, text: str, *, is_command: bool = False) -> None:
        """Print what is said about it, or a workflow command of GitHub Actions."""
        self._end_line()
        self._write(self._err, text + "\n", is_ours=is_command)

    def last_words(self, text: str) -> None:
        """Print a line on standard error alone: who reads the rest may have stopped reading."""
        is_in_line = (self._is_in_line or self._has_tick) and _is_terminal(self._err)
        self._pending, self._is_in_line, self._has_tick = [], False, False
        self.err("\n" * is_in_line + inline(text))

    def raw(self, data: bytes) -> None:
        """Print a body as it was received, but for secrets; nothing that steers a terminal."""
        text = mask(data.decode("utf-8", "surrogateescape"))
        if _is_terminal(self._out):
            self.out(visible(text).removesuffix("\n"))
        else:
            self._end_line()
            self._write(self._out, text, is_exact=True)

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
        count, secrets = len(text) - held, mask.pattern(text)
        for secret in secrets.finditer(text) if secrets else ():
            if secret.start() < count < secret.end():
                count = secret.start()
        ready, self._pending = text[:count], [text[count:]]
        if ready:
            self._erase_tick()
            bar = f"  {self.paint('dim', '│')} "
            lines = visible(mask(ready)).replace("\n", f"\n{bar}")
            self._write(self._out, lines if self._is_in_line else bar + lines, is_ours=True)
            self._is_in_line = True

    def _end_line(self) -> None:
        """End the line that is being shown, or waited in, if any."""
        self._erase_tick()
        self._release()
        if self._is_in_line:
            self._is_in_line = False
            self._write(self._out, "\n")

    def tick(self, text: str) -> None:
        """Show on a terminal that the run is alive, on a line that the next output replaces."""
        if self._shows_ticks and not self._is_in_line:
            self._write(self._err, f"\r\x1b[K  {text}")
            self._has_tick = True

    def _erase_tick(self) -> None:
        if self._has_tick:
            self._has_tick = False
            self._write(self._err, "\r\x1b[K")

    def _write(
        self, stream: TextIO | None, text: str, *, is_ours: bool = False, is_exact: bool = False
    ) -> None:
        """Write; `is_ours` says that every line begins as we mean it to begin.

        Goes on without a stream that fails; a reader that has gone away is no failure.
        """
        if stream is None:  # closed before we began
            return
        if self._is_on_runner:
            text = _harmless(text, is_ours=is_ours)
        # The last line of defence: no word of our own looks like a key.
        text = re.sub(ANTHROPIC_KEY, MASKED, text) if "sk-ant-" in text else text
        try:
            if is_exact:
                stream.flush()
                stream.buffer.write(text.encode("utf-8", "surrogateescape"))
            else:
                stream.write(_with_marks(text, stream.encoding or "ascii"))
            stream.flush()
        except OSError as error:
            if stream is self._out and not isinstance(error, BrokenPipeError):
                self.out_failure = error.strerror
            # What is still buffered would fail again, noisily, with the next write.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _harmless(text: str, *, is_ours: bool) -> str:
    """Keep text from outside from being a command of the runner that reads along."""
    text = text.replace("##[", "## [").replace("##vso[", "## vso[")
    return text if is_ours else re.sub(r"((?:\A|[\n\r])[^\S\n\r]*:)(?=:)", r"\1 ", text)


def _painter(stream: TextIO | None, environ: Mapping[str, str]) -> Callable[[str, str], str]:
    """Return what colours text where the stream shows colours."""
    is_forced = environ.get("FORCE_COLOR", "0") not in ("", "0")
    is_wanted = is_forced or (_is_terminal(stream) and environ.get("TERM") != "dumb")
    is_coloured = is_wanted and not environ.get("NO_COLOR")

    def paint(style: str, text: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if is_coloured else text

    return paint


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _with_marks(text: str, encoding: str) -> str:
    """Return the text with ASCII in place of our marks where the encoding lacks them."""
    try:
        "".join(_ASCII_MARKS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        for mark, plain in _ASCII_MARKS.items():
            text = text.replace(mark, plain)
    return text
