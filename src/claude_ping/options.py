"""The command line: the help text, and what each option takes."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from functools import partial

from claude_ping import __version__

TYPE_CHECKING = False  # typing's own would import typing, which --help does without
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from claude_ping.records import Failure

MAX_TIMEOUT = 86_400  # seconds; beyond it sockets overflow, and patience too
MAX_INPUT = 32 << 20  # bytes of standard input or of a payload
USAGE = "Usage: claude-ping [options] [PROMPT]   (claude-ping --help)"
HELP = """\
usage: claude-ping [options] [PROMPT]

Send one message to Claude and say whether it got through, and if not, whose move it is.

message:
  PROMPT                 what to ask, - for stdin (default: Reply with the single word: pong)
  -m, --model ID         model to ask (default: claude-haiku-5-5)
  -s, --system TEXT      system prompt
  --max-tokens N         maximum output tokens (default: 1024)
  --temperature T        0 to 1
  --stream               ask for server-sent events, show the text as it arrives
  --payload FILE         send this JSON object, - for stdin; options override its fields
  --models               instead of a message: list the models this key may use (free)

connection:
  --env-file PATH        use this file instead of the nearest .env
  --base-url URL         API root (default: https://api.anthropic.com)
  --sdk                  send the credential as official SDKs do: authorization: Bearer
  -H, --header HEADER    add or replace a request header, 'NAME: VALUE'; repeatable
  --timeout SECONDS      time limit for the whole run (default: 120)
  --retries N            retries after the first attempt (default: 2)
  --simulate NAME        let a built-in server answer: no key, no cost (--simulate list)

output:
  -n, --dry-run          check everything local, print the request as a curl command
  --json                 one JSON report, on success and on failure
  --raw                  the response body as it was received
  -v, --verbose          what a bug report needs: headers, request, where the time went
  -q, --quiet            nothing on success, one line on failure
  --no-color             no colors; also: NO_COLOR=1
  -V, --version          show the version
  -h, --help             show this help

environment (also read from the nearest .env):
  ANTHROPIC_API_KEY      the key to test; create one: https://platform.claude.com/settings/keys
  ANTHROPIC_AUTH_TOKEN   a bearer token; sent only where there is no key
  ANTHROPIC_BASE_URL     API root, e.g. a gateway
  ANTHROPIC_WORKSPACE_ID, ANTHROPIC_CUSTOM_HEADERS
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR, NO_COLOR (environment only)

exit codes:
  0   ok            a reply arrived
  1   internal      a bug in claude-ping
  2   usage         bad option or value
  3   config        no usable key or setting; nothing was sent
  4   auth          the key was rejected, or may not do this
  5   server        the API is overloaded or broken
  6   network       no connection, or no response in time
  7   account       no credit, spend limit, organization disabled
  8   rate          too many requests
  9   request       model not found, invalid request, too large
  10  protocol      what answered is not the Messages API
  11  connection    TLS, an unknown host, or a proxy that refuses
  130 interrupted
  5, 6 and 8: try again later. Everything else: fix something.

examples:
  claude-ping "hello"              does a message get through?
  claude-ping --env-file prod.env  with the key of that file
  claude-ping --models             is the key good? costs nothing
  claude-ping --simulate 401       rehearse a failure
  claude-ping --json > report.json a report to attach to a bug
"""
_IN_HISTORY = "It is in the shell's history now: revoke it if others use this machine."
_PLACE_FOR_KEYS = "Keys go into .env or the environment, as ANTHROPIC_API_KEY."
_SWITCHES = (
    "--stream|--models|--sdk|-n --dry-run|--json|--raw"
    "|-v --verbose|-q --quiet|--no-color|-V --version|-h --help"
)
_EXCLUSIVE = (
    "--payload PROMPT|--models PROMPT|--models --payload|--models --stream|--json --raw"
    "|--simulate --dry-run|--simulate --env-file|--simulate --base-url"
)


class Args(argparse.Namespace):
    """The parsed command line; these defaults are what a usage error is reported with, too."""

    json = raw = verbose = quiet = help = version = False
    timeout = 120.0
    simulate: str | None = None


def refuse(message: str) -> Failure:
    """Return the Failure of a command line that cannot be used; its first line is the headline."""
    from claude_ping.records import Failure  # noqa: PLC0415 not for --help

    headline, *more = message.split("\n")
    return Failure("usage", headline, known=(*more, USAGE))


def _parser() -> argparse.ArgumentParser:
    # A fixed width: to measure the terminal argparse would import shutil.
    plain = partial(argparse.HelpFormatter, width=80)
    parser = argparse.ArgumentParser(
        allow_abbrev=False, add_help=False, exit_on_error=False, formatter_class=plain
    )
    add = parser.add_argument
    whole = partial(_number, int, 0, 999_999_999, "a whole number, 0 or more")
    add("prompt", nargs="*", type=_text, metavar="PROMPT")
    add("-m", "--model", type=_text)
    add("-s", "--system", type=_text)
    add("--max-tokens", type=whole)
    add("--temperature", type=partial(_number, float, 0, 1, "a number from 0 to 1"))
    add("--payload")
    add("--env-file")
    add("--base-url")
    add("-H", "--header", type=_header, action="append", default=[])
    seconds = f"seconds, more than 0 and at most {MAX_TIMEOUT}"
    add("--timeout", type=partial(_number, float, 1e-9, MAX_TIMEOUT, seconds))
    add("--retries", type=whole, default=2)
    add("--simulate", type=_rehearsal)
    for flags in _SWITCHES.split("|"):
        add(*flags.split(), action="store_true")
    return parser


def parse(argv: list[str]) -> Args:
    """Return the command line, or raise Failure with what is wrong with it."""
    parser = _parser()
    try:
        args, unknown = parser.parse_known_args(argv, Args())
    except argparse.ArgumentError as error:
        raise refuse(str(error).removeprefix("argument ")) from None
    words = [*args.prompt, *unknown]
    args.prompt = args.prompt[0] if args.prompt else None
    if args.help or args.version:
        return args
    if options := [word for word in unknown if word.startswith("-") and word != "-"]:
        raise _unknown(options[0], list(parser._option_string_actions))  # noqa: SLF001 argparse's only list
    if len(words) > 1:
        line = " ".join(words)
        hint = f': quote it: claude-ping "{line}"' if re.fullmatch(r"[\w ,.!?']+", line) else ""
        raise refuse(f"more than one PROMPT{hint}")
    for pair in _EXCLUSIVE.split("|"):
        names = pair.lower().replace("--", "").replace("-", "_").split()
        if all(getattr(args, name) for name in names):
            raise refuse(pair.replace(" ", " cannot go together with "))
    return args


def _unknown(option: str, known: list[str]) -> Failure:
    from difflib import get_close_matches  # noqa: PLC0415 for this message alone

    name = re.split(r"[=\s]", option)[0]
    name = name if name.startswith("--") else name[:2]
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    note = f"Did you mean {close[0]}?" if close else ""
    if re.match(r"--?(api|auth)?[-_]?(key|token)|-k", name):
        note = _PLACE_FOR_KEYS
    return refuse(f"unknown option {name}\n{note}".rstrip())


def _text(value: str) -> str:
    """Take a text that can be sent and is no key."""
    problem = "" if value.strip() else "must not be empty"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"no valid UTF-8 at character {error.start + 1}"
    if re.match(r"sk-ant-[\w-]{8,}$", value):
        problem = f"looks like an API key\n{_IN_HISTORY}\n{_PLACE_FOR_KEYS}"
    if problem:
        raise argparse.ArgumentTypeError(problem)
    return value


def _number(
    kind: Callable[[str], float], least: float, most: float, expected: str, value: str
) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"expected {expected}, not {value!r}")
    return number


def _header(value: str) -> tuple[str, str]:
    from claude_ping import endpoint  # noqa: PLC0415 not for --help

    name, colon, content = (part.strip() for part in value.partition(":"))
    problem = endpoint.header_problem(name, content) if colon else "expected 'NAME: VALUE'"
    if problem:
        raise argparse.ArgumentTypeError(f"{problem} (value not shown)")
    return name, content


def _rehearsal(name: str) -> str:
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    if name not in (*simulator.NAMES, "list"):
        listing = "\n".join(simulator.listing())
        raise argparse.ArgumentTypeError(f"knows no {name!r}; it can play:\n{listing}")
    return name


def read_prompt() -> str:
    """Return the prompt that standard input holds, or raise Failure."""
    try:
        return _text(_read("-").decode("utf-8", "surrogateescape"))
    except (OSError, argparse.ArgumentTypeError) as error:
        raise refuse(f"PROMPT from standard input: {error}") from None


def read_payload(path: str) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of a file, or of standard input, and its bytes; or raise Failure."""
    from claude_ping import api  # noqa: PLC0415 not for --help

    try:
        data = _read(path)
        if data.startswith(b"\xef\xbb\xbf"):
            raise ValueError("it begins with a byte order mark")  # noqa: TRY301 one refusal for all
        value = api.decode_json(data.decode())
        if isinstance(value, dict):
            return value, data
        problem = "holds no JSON object"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        is_utf_16 = error.object[0] in b"\xfe\xff"  # half of its byte order mark
        problem = "is UTF-16, not UTF-8" if is_utf_16 else f"is not UTF-8: byte {error.start + 1}"
    except ValueError as error:
        problem = f"is not JSON: {error}"
    raise refuse(f"--payload: {'standard input' if path == '-' else path} {problem}")


def _read(path: str) -> bytes:
    """Read a file, or standard input for "-"; OSError also where it is too large."""
    if path == "-":
        data = sys.stdin.buffer.read(MAX_INPUT + 1) if sys.stdin else b""
    else:
        with open(path, "rb") as file:
            data = file.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise OSError(errno.EFBIG, "larger than 32 MiB")
    return data


def overrides(args: Args) -> dict[str, Any]:
    """Return the body's fields that options set."""
    names = ("model", "max_tokens", "system", "temperature")
    given = {name: getattr(args, name) for name in names} | {"stream": args.stream or None}
    return {name: value for name, value in given.items() if value is not None}


def doubts(args: Args) -> list[str]:
    """Return what may not have been meant, though it can be done."""
    is_option = args.prompt in ("help", "version", "models", "stream", "simulate")
    return [f"{args.prompt} was sent as a prompt; the option is --{args.prompt}"] * is_option


def answer(args: Args) -> str:
    """Return what is shown instead of a run: help, the version, the list of rehearsals."""
    if args.help:
        return HELP.rstrip()
    if args.version:
        return f"claude-ping {__version__}"
    if args.simulate != "list":
        return ""
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    return "\n".join(["--simulate can play:", *simulator.listing()])
