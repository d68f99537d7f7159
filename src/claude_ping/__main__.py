"""`python -m claude_ping`."""

from claude_ping.cli import main

raise SystemExit(main())
