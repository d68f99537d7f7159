"""What reaches the two streams."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from claude_ping.screen import Screen


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)


def written(text: io.TextIOWrapper) -> str:
    assert isinstance(text.buffer, io.BytesIO)
    return text.buffer.getvalue().decode(text.encoding)


class Terminal:
    """A pseudo-terminal and what was shown on it."""

    def __init__(self, columns: int = 80) -> None:
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(follower, "w", encoding="utf-8")

    def shown(self) -> str:
        self.stream.close()
        data = b""
        try:
            while chunk := os.read(self.leader, 65536):
                data += chunk
        except OSError:  # the other end is closed
            pass
        os.close(self.leader)
        return data.decode()


def test_marks_become_ascii_where_they_cannot_be_encoded() -> None:
    out = stream("ascii")

    Screen(out, None, {}).out("✓ ✗ │ • … é")

    assert written(out) == "[ok] [failed] | * ... \\xe9\n"


def test_streams_that_are_closed_from_the_start_are_no_failure() -> None:
    screen = Screen(None, None, {})

    screen.out("x")
    screen.err("y")
    screen.tick("z")
    screen.raw(b"raw")
    screen.close()


def test_only_a_terminal_has_colours_and_a_width() -> None:
    terminal = Terminal(columns=40)

    assert Screen(stream(), None, {}).out_look.width is None
    assert Screen(terminal.stream, None, {}).out_look.width == 40
    assert Screen(terminal.stream, None, {}).out_look.paint("bold", "x") == "\x1b[1mx\x1b[0m"
    assert Screen(stream(), None, {}).out_look.paint("bold", "x") == "x"
    terminal.shown()


@pytest.mark.parametrize(
    ("environ", "allowed", "coloured"),
    [
        ({}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colours_can_be_forced_and_forbidden(
    environ: dict[str, str], allowed: bool, coloured: bool
) -> None:
    screen = Screen(stream(), None, environ)

    screen.configure(coloured=allowed)

    assert (screen.out_look.paint("bold", "x") != "x") is coloured


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_can_be_without_colours(environ: dict[str, str]) -> None:
    terminal = Terminal()

    assert Screen(terminal.stream, None, environ).out_look.paint("bold", "x") == "x"
    terminal.shown()


def test_the_sign_of_life_is_erased_by_what_follows() -> None:
    terminal = Terminal()
    screen = Screen(None, terminal.stream, {})

    screen.tick("waiting, 1 s")
    screen.tick("waiting, 2 s")
    screen.err("done")
    screen.close()

    erase = "\r\x1b[K"
    assert terminal.shown() == f"  waiting, 1 s{erase}  waiting, 2 s{erase}done\r\n"


def test_there_is_no_sign_of_life_elsewhere() -> None:
    err = stream()

    Screen(None, err, {}).tick("waiting")

    assert written(err) == ""
