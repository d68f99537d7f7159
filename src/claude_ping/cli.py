"""`argv` in, exit code out. The main thread waits for Ctrl-C, one prints, one does the work."""

from __future__ import annotations

import os
import sys
import time

from claude_ping import options
from claude_ping.screen import Screen, inline, mask

TYPE_CHECKING = False  # typing's own would import typing, which --help does without
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_ping.options import Args
    from claude_ping.records import Answer, Layer, Report, Request, Retry

    Event = Retry | tuple[int, str]  # a wait, or text of a stream and which block it belongs to
    Outcome = Answer | Exception | None  # None of a dry run

SIMULATED_KEY = "sk-ant-api03-" + "simulated" * 10 + "-SIAA"
TICK = 0.25  # seconds
GRACE = 0.2  # seconds that the worker has to say itself why time was not enough
LAST_WORDS = 0.5  # seconds, after Ctrl-C, for a reader that may not read
QUEUE = 64  # events; when the reader of our output is slow, so is our reading


def main(argv: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    plain = {"NO_COLOR": "1"} if "--no-color" in argv else {}
    screen = Screen(sys.stdout, sys.stderr, {**os.environ, **plain})
    code = _run(list(argv), screen)
    if screen.out_failure and not code:
        screen.err(f"✗ cannot write to standard output: {screen.out_failure}")
        return 1
    return code


def _run(argv: list[str], screen: Screen) -> int:
    args, refusal = options.Args(), None
    try:
        args = options.parse(argv)
    except Exception as failure:  # noqa: BLE001 what is not a Failure is a bug, and reported as one
        refusal = failure
    if text := options.answer(args):
        screen.out(text)
        return 0
    from threading import Event, Thread  # noqa: PLC0415

    from claude_ping.records import ExitCode, Report  # noqa: PLC0415

    report, over = Report(args.timeout, simulated=args.simulate), Event()

    def run() -> None:
        try:
            _conduct(args, refusal, report, screen)
        except Exception as bug:  # noqa: BLE001 a traceback could show the key
            report.exit_code = ExitCode.INTERNAL
            screen.err(f"✗ {_described(bug)}")
        finally:
            over.set()

    # Ctrl-C would be lost where it comes just before a write that blocks, or within an import.
    try:
        Thread(target=run, daemon=True).start()
        while not over.wait(TICK):
            pass
    except KeyboardInterrupt:
        return _interrupt(args, report, screen)
    return report.exit_code.value


def _conduct(args: Args, refusal: Exception | None, report: Report, screen: Screen) -> None:
    """Have the run done, come to a verdict, and print it."""
    from claude_ping.records import Answer, ExitCode  # noqa: PLC0415

    outcome = refusal or _supervise(args, report, screen)
    report.total = time.monotonic() - report.started
    if isinstance(outcome, Exception):
        _explain(outcome, report)
    else:
        report.exit_code, report.headline = ExitCode.OK, "dry run: nothing was sent"
    if isinstance(outcome, Answer):
        report.answer, report.key_accepted = outcome, True
        report.headline = inline(f"{outcome.status} {outcome.reason or 'OK'}")
    _publish(args, report, screen)


def _supervise(args: Args, report: Report, screen: Screen) -> Outcome:
    """Do the whole run in a thread of its own, and return what has come of it by the deadline.

    The deadline could not otherwise end a name look-up, or the reading of a pipe.
    """
    from queue import Empty, Queue  # noqa: PLC0415
    from threading import Thread  # noqa: PLC0415

    from claude_ping.records import Answer  # noqa: PLC0415

    events: Queue[Event | Outcome] = Queue(QUEUE)

    def run() -> None:
        try:
            events.put(_work(args, report, events.put))
        except Exception as failure:  # noqa: BLE001 a bug is reported like any failure
            events.put(failure)

    Thread(target=run, daemon=True).start()
    while True:
        remaining, seconds = report.exchange.remaining + GRACE, time.monotonic() - report.started
        try:
            event = events.get(timeout=max(min(remaining, TICK), 0))
        except Empty:
            if remaining <= 0:
                from claude_ping import ping  # noqa: PLC0415

                return ping.timed_out(report)
            if seconds >= 1 and not args.quiet:
                screen.tick(f"{report.exchange.phase.value}, {seconds:.0f} s")
            continue
        if event is None or isinstance(event, (Answer, Exception)):
            return event
        if not args.quiet:
            _show(event, args, screen)


def _show(event: Event, args: Args, screen: Screen) -> None:
    from claude_ping import render  # noqa: PLC0415
    from claude_ping.records import Retry  # noqa: PLC0415

    if isinstance(event, Retry):
        screen.err(render.retry(event))
    elif not (args.json or args.raw):
        screen.partial(*event)


def _work(args: Args, report: Report, post: Callable[[Event], None]) -> Answer | None:
    """Ask with the settings found; for a rehearsal, with those of the built-in server alone."""
    from claude_ping import settings  # noqa: PLC0415

    if args.simulate is None:
        mask.learn(settings.secrets([settings.environment()], args.header))
        layers = settings.read_layers(args.env_file)
        return _ask(args, report, post, layers)
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    simulator.rehearse(args.simulate, report.exchange)
    with simulator.serve(args.simulate) as base_url:
        values = {"ANTHROPIC_API_KEY": SIMULATED_KEY, "ANTHROPIC_BASE_URL": base_url}
        return _ask(args, report, post, [settings.layer("--simulate", values)])


def _ask(
    args: Args, report: Report, post: Callable[[Event], None], layers: list[Layer]
) -> Answer | None:
    """Return the answer, None for a dry run; Failure where nothing good comes of it."""
    request = _prepare(args, report, layers)
    if args.dry_run:
        return None
    from claude_ping import api, ping  # noqa: PLC0415

    caller = ping.Caller(report, post, retries=args.retries)
    try:
        is_default = args.model is None and args.payload is None
        answer = caller.ask(request, is_default_model=is_default)
    finally:
        report.warnings += ping.journey_warnings(report.exchange)
    report.warnings += api.reply_notes(answer, report.request or request)
    return answer


def _prepare(args: Args, report: Report, layers: list[Layer]) -> Request:
    """Read the settings and what is asked, note both in the report, and find the way there."""
    from claude_ping import api, endpoint, settings  # noqa: PLC0415

    mask.learn(settings.secrets(layers, args.header))
    payload, data = options.read_payload(args.payload) if args.payload else (None, None)
    prompt = options.read_prompt() if args.prompt == "-" else args.prompt
    body = (api.default_body(prompt) if payload is None else payload) | options.overrides(args)
    report.settings = settings.resolve(args, layers, body)
    if args.simulate:  # reads as the real thing would
        facts = {**report.settings.facts, "base_url_setting": None}
        report.settings = report.settings._replace(warnings=(), facts=facts)
    report.warnings += [*report.settings.warnings, *options.doubts(args)]
    literal = data if body == payload else None
    request = api.message_request(report.settings, body, data=literal, sdk=args.sdk)
    request = api.models_request_like(request) if args.models else request
    report.request = api.shown(request)
    is_elsewhere = report.settings.credential.source != "the environment"
    if args.dry_run and not args.json and is_elsewhere:
        report.warnings.append(
            f"the {report.settings.credential.noun} is from {report.settings.credential.source}:"
            " to run this, first: set -a; . ./.env; set +a"
        )
    if args.dry_run and report.request.data != request.data:
        report.warnings.append(
            "the body holds a secret, which is masked: the command does not send the same bytes"
        )
    endpoint.route(request.url, os.environ, report.exchange)
    return request


def _explain(failure: Exception, report: Report) -> None:
    """Fill the report with the verdict on a failure, or on a bug."""
    from claude_ping import diagnosis, settings  # noqa: PLC0415
    from claude_ping.records import Failure  # noqa: PLC0415

    if not isinstance(failure, Failure):
        failure = Failure("internal error", _described(failure))
    if failure.fault == "usage":  # it quotes what was typed
        mask.learn(settings.secrets([settings.environment()], []))
        failure.message, failure.known = mask(failure.message), tuple(map(mask, failure.known))
    diagnosis.explain(failure, report)


def _described(bug: Exception) -> str:
    """Say what was raised and by which of our lines, but not with what values."""
    from traceback import walk_tb  # noqa: PLC0415 only for bugs

    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(bug.__traceback__)]
    here = os.path.dirname(__file__)
    ours = [f"{os.path.basename(name)}:{line}" for name, line in places if name.startswith(here)]
    return f"a bug in claude-ping: {type(bug).__name__} in {', '.join(ours)}"


def _publish(args: Args, report: Report, screen: Screen) -> None:
    """Print the report in the form that was asked for, each part on its stream."""
    from claude_ping import render  # noqa: PLC0415

    is_wanted = not (report.exit_code or args.quiet)
    if args.json and report.fault != "usage":
        _publish_json(report, screen)
    elif args.raw and report.answer and not args.quiet:
        screen.raw(report.answer.body)
    elif is_wanted and args.dry_run:
        from claude_ping import machine  # noqa: PLC0415

        screen.out(machine.as_curl(report))
    elif is_wanted:
        screen.out(render.success(report, screen.paint))
    if report.exit_code:
        _publish_failure(args, report, screen)
    if args.quiet:
        return
    for warning in report.warnings:
        screen.err(f"{screen.paint_err('warn', 'warning:')} {inline(warning)}")
    if name := report.simulated:
        screen.err(f"note: simulated ({name}): no key was read, nothing left this machine")
    if args.verbose:
        screen.err("\n".join(render.details(report, _client(), screen.paint_err)))


def _publish_failure(args: Args, report: Report, screen: Screen) -> None:
    from claude_ping import machine, render  # noqa: PLC0415

    if not args.quiet and (report.fault == "usage" or not args.json):
        screen.err(render.failure(report, screen.paint_err))
    if screen.is_in_github_actions and report.fault != "interrupted":
        screen.err(machine.workflow_command(report), is_command=True)
    elif args.quiet:
        screen.err(machine.short(report))


def _interrupt(args: Args, report: Report, screen: Screen) -> int:
    """Say that the run was interrupted, on a thread that a reader who does not read may block."""
    from copy import copy  # noqa: PLC0415
    from threading import Thread  # noqa: PLC0415

    from claude_ping.records import Failure  # noqa: PLC0415

    report = copy(report)  # the other threads may be filling theirs still
    report.total, phase = time.monotonic() - report.started, report.exchange.phase.value
    told = f"interrupted after {report.total:.1f} s while {phase}"
    _explain(Failure("interrupted", told), report)

    def publish() -> None:
        screen.last_words(report.headline)
        if args.json:
            _publish_json(report, screen)

    thread = Thread(target=publish, daemon=True)
    thread.start()
    thread.join(LAST_WORDS)
    return report.exit_code.value


def _publish_json(report: Report, screen: Screen) -> None:
    from claude_ping import machine  # noqa: PLC0415

    screen.out(machine.as_json(report, _client()))


def _client() -> dict[str, str]:
    import platform  # noqa: PLC0415 only for reports
    import ssl  # noqa: PLC0415

    from dotenv.version import __version__ as python_dotenv  # noqa: PLC0415

    return {
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "platform": platform.platform(),
        "python_dotenv": python_dotenv,
    }
