"""The command line: the help text, and what each option takes."""

from __future__ import annotations

import argparse
import re
from functools import partial

from claude_ping import __version__
from claude_ping.screen import read_text

Misuse = argparse.ArgumentTypeError  # the first line of its text is the headline
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
  claude-ping --models             is the key good? costs nothing
  claude-ping --simulate 401       rehearse a failure
"""
_PLACE_FOR_KEYS = "Keys go into .env or the environment, as ANTHROPIC_API_KEY."
FIELDS = ("model", "max_tokens", "system", "temperature", "stream")  # of the body
_SWITCHES = (
    "--models|--sdk|-n --dry-run|--json|--raw"
    "|-v --verbose|-q --quiet|--no-color|-V --version|-h --help"
)
_EXCLUSIVE = (
    "--payload PROMPT|--models PROMPT|--models --payload|--models --stream|--json --raw"
    "|--simulate --dry-run|--simulate --env-file|--simulate --base-url"
)


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the command line, or raise Misuse with what is wrong with it."""
    parser = _parser()
    try:
        args, unknown = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise Misuse(str(error).removeprefix("argument ")) from None
    if options := [word for word in unknown if re.match("-.", word) and "--" not in argv]:
        raise _unknown(options[0])
    if unknown:
        line = " ".join(filter(None, [args.prompt, *unknown]))
        hint = f': quote it: claude-ping "{line}"' if re.fullmatch(r"[\w ,.!?']+", line) else ""
        raise Misuse(f"more than one PROMPT{hint}")
    for pair in _EXCLUSIVE.split("|"):
        names = pair.lower().replace("--", "").replace("-", "_").split()
        if all(getattr(args, name) for name in names):
            raise Misuse(pair.replace(" ", " cannot go together with "))
    return args


def _parser() -> argparse.ArgumentParser:
    # A fixed width: to measure the terminal argparse would import shutil.
    plain = partial(argparse.HelpFormatter, width=80)
    parser = argparse.ArgumentParser(
        allow_abbrev=False, add_help=False, exit_on_error=False, formatter_class=plain
    )
    add = parser.add_argument
    whole = partial(_number, int, 0, 999_999_999, "a whole number, 0 or more")
    seconds = f"seconds, more than 0 and at most {MAX_TIMEOUT}"
    add("prompt", nargs="?", type=_text, metavar="PROMPT")
    add("-m", "--model", type=_text)
    add("-s", "--system", type=_text)
    add("--max-tokens", type=whole)
    add("--temperature", type=partial(_number, float, 0, 1, "a number from 0 to 1"))
    for name in ("--payload", "--env-file", "--base-url"):
        add(name)
    add("-H", "--header", type=_header, action="append", default=[])
    add("--timeout", type=partial(_number, float, 1e-9, MAX_TIMEOUT, seconds), default=120.0)
    add("--retries", type=whole, default=2)
    add("--simulate", type=_rehearsal)
    add("--stream", action="store_true", default=None)
    for flags in _SWITCHES.split("|"):
        add(*flags.split(), action="store_true")
    return parser


def _unknown(option: str) -> Misuse:
    from difflib import get_close_matches  # noqa: PLC0415 for this message alone

    name = re.split(r"[=\s]", option)[0]
    name = name if name.startswith("--") else name[:2]
    close = get_close_matches(name, re.findall(r"--[\w-]+", HELP), n=1, cutoff=0.7)
    note = f"Did you mean {close[0]}?" if close else ""
    if re.match(r"--?(api|auth)?[-_]?(key|token)|-k", name):
        note = _PLACE_FOR_KEYS
    return Misuse(f"unknown option {name}\n{note}".rstrip())


def _text(value: str) -> str:
    faults = {
        r"\s*": "must not be empty",
        r"(?s).*[\ud800-\udfff].*": "is not valid UTF-8",
        r"\s*sk-ant-[\w-]{8,}\s*": "looks like an API key\nIt is in the shell's history now:"
        f" revoke it if others use this machine.\n{_PLACE_FOR_KEYS}",
    }
    for pattern, fault in faults.items():
        if re.fullmatch(pattern, value):
            raise Misuse(fault)
    return value


def _number(kind: type[int | float], least: float, most: float, expected: str, value: str) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise Misuse(f"expected {expected}, not {value!r}")
    return number


def _header(value: str) -> tuple[str, str]:
    from claude_ping import endpoint  # noqa: PLC0415 not for --help

    name, colon, content = (part.strip() for part in value.partition(":"))
    problem = endpoint.header_problem(name, content) if colon else "expected 'NAME: VALUE'"
    if problem:
        raise Misuse(f"{problem} (value not shown)")
    return name, content


def _rehearsal(name: str) -> str:
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    if name not in (*simulator.NAMES, "list"):
        raise Misuse(f"unknown name {name!r}\n{_listing()}")
    return name


def _listing() -> str:
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    return "\n".join(["--simulate can play:", *simulator.listing()])


def answer(args: argparse.Namespace) -> str:
    """Return what is shown instead of a run: help, the version, the list of rehearsals."""
    if args.help or args.version:
        return HELP.rstrip() if args.help else f"claude-ping {__version__}"
    return _listing() if args.simulate == "list" else ""


def read_prompt() -> str:
    """Return the prompt that standard input holds, or raise Misuse."""
    try:
        return _text(read_text(0, MAX_INPUT))
    except (Misuse, ValueError) as error:
        raise Misuse(f"PROMPT from standard input: {error}") from None


def read_payload(path: str) -> tuple[dict[str, object], bytes]:
    """Return the JSON object of a file, or of standard input, and its bytes; or raise Misuse."""
    from claude_ping import api  # noqa: PLC0415 not for --help

    where, text = f"--payload: {'standard input' if path == '-' else path}", None
    try:
        text = read_text(0 if path == "-" else path, MAX_INPUT)
        value = api.decode_json(text)
    except ValueError as error:
        why = "it begins with a byte order mark" if (text or "")[:1] == "\ufeff" else error
        raise Misuse(
            f"{where} {'cannot be read' if text is None else 'is not JSON'}: {why}"
        ) from None
    if not isinstance(value, dict):
        raise Misuse(f"{where} holds no JSON object")
    return value, text.encode()
