"""The command line: options, what they take, and the help."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from typing import Any, NoReturn

from claude_ping import __version__, api, checks
from claude_ping.stream import STRICT_JSON

DEFAULT_TIMEOUT = 120.0  # seconds
MAX_TIMEOUT = 86_400.0  # seconds; beyond it sockets overflow, and patience too
DEFAULT_RETRIES = 2
EPILOG = """\
exit codes:
  0 ok            a reply arrived
  1 internal      a bug in claude-ping
  2 usage         bad option or value
  3 config        no usable key or setting; nothing was sent
  4 auth          401; 403 from the API
  5 server        5xx, 529
  6 network       name, TCP, TLS, proxy, timeout
  7 account       no credit, spend limit, organization disabled
  8 rate          429
  9 request       model not found, invalid, too large
  10 protocol     not the Messages API
  130 interrupted
  3 4 7 9 10 want a person; 5 6 8 want patience.

examples:
  claude-ping "hello"              does a message get through?
  claude-ping --env-file prod.env  with the key of that file
  claude-ping --models             is the key good? costs nothing
  claude-ping --simulate 401       rehearse a failure
  claude-ping --json > report.json a report to attach to a bug
"""


class Args(argparse.Namespace):
    """The parsed command line."""

    prompt: str | None
    model: str | None
    system: str | None
    max_tokens: int | None
    temperature: float | None
    stream: bool
    payload: str | None
    models: bool
    header: list[tuple[str, str]]
    simulate: str | None
    env_file: str | None
    base_url: str | None
    timeout: float
    retries: int
    dry_run: bool
    json: bool
    raw: bool
    verbose: bool
    quiet: bool
    no_color: bool


class UsageError(Exception):
    """The usage, and what is wrong with the command line."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that leaves it to the caller to print errors, without keys in them."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting."""
        shown = re.sub(r"\bsk-[\w-]{8,}", "sk-…", message)
        if message.startswith("unrecognized"):
            shown += " (a PROMPT of several words needs quotes)"
        raise UsageError(f"{self.format_usage()}{self.prog}: error: {shown}")


def refuse(message: str) -> NoReturn:
    """Raise UsageError for what only several values together show."""
    parser().error(message)


def parser() -> Parser:
    """Return the parser of the whole command line."""
    this = Parser(
        prog="claude-ping",
        description=(
            "Send one message to Claude and say whether it got through,\n"
            "and if not, whose move it is."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_message_options(this.add_argument_group("message"))
    _add_connection_options(this.add_argument_group("connection"))
    _add_output_options(this.add_argument_group("output"))
    return this


def _add_message_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        type=text,
        help=f"what to ask; - reads standard input (default: {api.DEFAULT_PROMPT})",
    )
    group.add_argument(
        "-m",
        "--model",
        metavar="ID",
        type=text,
        help=f"model to ask (default: {api.DEFAULT_MODEL})",
    )
    group.add_argument("-s", "--system", metavar="TEXT", type=text, help="system prompt")
    group.add_argument(
        "--max-tokens",
        metavar="N",
        type=_whole,
        help=f"ceiling of the reply (default: {api.DEFAULT_MAX_TOKENS})",
    )
    group.add_argument("--temperature", metavar="T", type=_temperature, help="0 to 1")
    group.add_argument(
        "--stream",
        action="store_true",
        help="ask for server-sent events, show the text as it arrives",
    )
    group.add_argument(
        "--payload",
        metavar="FILE",
        help="send this JSON object as the body (- is standard input);"
        " the options above override its fields",
    )
    group.add_argument(
        "--models",
        action="store_true",
        help="instead of a message: list the models this key may use (free of charge)",
    )


def _add_connection_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="add or replace a request header; repeatable",
    )
    group.add_argument(
        "--simulate",
        metavar="SCENARIO",
        type=_scenario,
        help="let a built-in server answer: no key, no network, no cost;"
        " ok, 401, 429, 529, … (an unknown one lists all)",
    )
    group.add_argument("--env-file", metavar="PATH", help="read this file, not the .env found")
    group.add_argument(
        "--base-url", metavar="URL", help="API root (default: " + checks.DEFAULT_BASE_URL + ")"
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        help="bound on the whole run (default: 120)",
    )
    group.add_argument(
        "--retries",
        metavar="N",
        type=_whole,
        default=DEFAULT_RETRIES,
        help="further attempts after the first (default: %(default)s)",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="check everything local, print the request as a curl command, send nothing",
    )
    formats = group.add_mutually_exclusive_group()
    formats.add_argument(
        "--json", action="store_true", help="one JSON report, on success and on failure"
    )
    formats.add_argument("--raw", action="store_true", help="the response body as it was received")
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="headers both ways, attempts, proxy and CA in use, where the time went",
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="nothing on success, one line on failure"
    )
    group.add_argument("--no-color", action="store_true", help="no colours; also: NO_COLOR=1")
    group.add_argument("--version", action="version", version=f"claude-ping {__version__}")
    group.add_argument("-h", "--help", action="help", help="show this help")


def text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(
            f"not valid UTF-8 at character {error.start + 1}"
        ) from None
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    if re.match(r"sk-ant-\S{8,}$", value):
        raise argparse.ArgumentTypeError(
            "looks like an API key; put it into .env as ANTHROPIC_API_KEY=…"
        )
    return value


def _whole(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, not {value!r}")
    return int(value)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _temperature(value: str) -> float:
    if not 0 <= (number := _number(value)) <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {value!r}")
    return number


def _seconds(value: str) -> float:
    if not 0 < (number := _number(value)) <= MAX_TIMEOUT:
        raise argparse.ArgumentTypeError(
            f"expected seconds, more than 0 and at most {MAX_TIMEOUT:.0f}, not {value!r}"
        )
    return number


def _header(value: str) -> tuple[str, str]:
    name, colon, content = (part.strip() for part in value.partition(":"))
    if not colon:
        raise argparse.ArgumentTypeError(
            "expected 'NAME: VALUE', but there is no colon (value not shown)"
        )
    if problem := checks.header_problem(name, content):
        raise argparse.ArgumentTypeError(problem)
    return name, content


def _scenario(value: str) -> str:
    from claude_ping.simulator import SCENARIOS  # noqa: PLC0415 a web server, only for rehearsals

    if value not in SCENARIOS:
        listed = "\n".join(f"  {name:16} {scenario.about}" for name, scenario in SCENARIOS.items())
        raise argparse.ArgumentTypeError(f"no scenario is called {value!r}; there are:\n{listed}")
    return value


def check(args: Args) -> None:
    """Refuse what cannot go together."""
    if args.simulate and (args.env_file or args.base_url):
        refuse("argument --simulate: not together with --env-file or --base-url")
    if args.payload is not None and args.prompt is not None:
        refuse("argument --payload: not together with PROMPT")
    if args.models and (args.payload is not None or args.prompt is not None or args.stream):
        refuse("argument --models: not together with PROMPT, --payload or --stream")


def text_of_standard_input() -> str:
    """Return the prompt that is read from standard input."""
    try:
        return text(_standard_input().decode("utf-8", "surrogateescape"))
    except argparse.ArgumentTypeError as error:
        refuse(f"argument PROMPT: standard input: {error}")


def _standard_input() -> bytes:
    return sys.stdin.buffer.read() if sys.stdin else b""


def read_payload(path: str) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of a file, or of standard input, and its bytes."""
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = _standard_input()
        else:
            with open(path, "rb") as file:
                data = file.read()
        value = STRICT_JSON.decode(data.decode("utf-8"))
    except OSError as error:
        refuse(f"argument --payload: cannot read {name}: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(f"argument --payload: {name} is not UTF-8 text: byte {error.start + 1}")
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        refuse(f"argument --payload: {name} is not JSON: {error.msg} ({place})")
    except ValueError as error:
        refuse(f"argument --payload: {name}: {error}")
    except RecursionError:
        refuse(f"argument --payload: {name} is nested too deeply")
    if not isinstance(value, dict):
        refuse(f"argument --payload: {name} holds no JSON object, but {_kind(value)}")
    if api.is_too_deep(value):
        refuse(f"argument --payload: {name} is nested too deeply")
    return value, data


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
