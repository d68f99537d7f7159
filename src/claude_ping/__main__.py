"""The entry point, also as `python -m claude_ping`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the program and end the process; Ctrl-C is one line even while it is still loaded."""
    gc.disable()  # a run is over before a collection pays
    try:
        from claude_ping import cli  # noqa: PLC0415

        code = cli.main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    # Everything is flushed. What the interpreter would still tidy up takes a tenth of a run,
    # and a name look-up that hangs in a thread is not waited for.
    os._exit(code)


if __name__ == "__main__":
    main()
