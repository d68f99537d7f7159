"""The entry point, also as `python -m claude_ping`."""

import sys


def main() -> int:
    """Run the program; Ctrl-C is one line even while it is still being loaded."""
    try:
        from claude_ping.cli import main  # noqa: PLC0415

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
