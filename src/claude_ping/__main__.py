"""The entry point, also as `python -m claude_ping`; help and version need no more than this."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the program and end the process; Ctrl-C is one line even while it is still loaded."""
    gc.disable()  # a run is over before a collection pays
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    # Everything is flushed. What the interpreter would still tidy up takes a tenth of a run.
    os._exit(code)


def run(argv: list[str]) -> int:
    """Answer the command line, and return the exit code."""
    from claude_ping import options  # noqa: PLC0415 Ctrl-C is one line while it is loaded, too
    from claude_ping.screen import Screen  # noqa: PLC0415

    plain = {"NO_COLOR": "1"} if "--no-color" in argv else {}
    screen = Screen(sys.stdout, sys.stderr, {**os.environ, **plain})
    refusal, code = None, 0
    try:
        args = options.parse(argv)
    except Exception as failure:  # noqa: BLE001 what is no misuse is a bug, and reported as one
        args, refusal = options.parse([word for word in argv if word in ("-q", "--quiet")]), failure
    if text := options.answer(args):
        screen.out(text)
    else:
        from claude_ping import cli  # noqa: PLC0415 all that a run needs

        code = cli.run(args, refusal, screen)
    if screen.out_failure and not code:
        screen.err(f"✗ cannot write to standard output: {screen.out_failure}")
        code = 1
    return code


if __name__ == "__main__":
    main()
