"""One run: one thread asks, one keeps the clock and publishes, the main one waits for Ctrl-C."""

from __future__ import annotations

import os
import shlex
import time
from argparse import Namespace
from collections.abc import Callable
from threading import Lock, Thread

from claude_ping import api, endpoint, options, render, settings
from claude_ping.records import Answer, ExitCode, Failure, Layer, Report
from claude_ping.screen import Screen, inline, mask

Post = Callable[[str | tuple[int, str]], None]  # takes a notice, or new text of which block
Outcome = Answer | Exception | None  # None of a dry run

SIMULATED_KEY = "sk-ant-api03-" + "simulated" * 10 + "-SIAA"
TICK = 0.25  # seconds
GRACE = 0.2  # seconds that the worker has to say itself why time was not enough
LAST_WORDS = 0.5  # seconds, after Ctrl-C, for a reader that may not read


def run(args: Namespace, refusal: Exception | None, screen: Screen) -> int:
    """Do what the command line asks, publish what came of it, and return the exit code."""
    report = Report(args.timeout, simulated=args.simulate)

    def conduct() -> None:
        try:
            mask.learn(settings.secrets([settings.environment()], ()))
            _judge(refusal or _supervise(args, report, screen), report)
            _publish(args, report, screen)
        except Exception as bug:  # noqa: BLE001 a traceback could show the key
            report.exit_code = ExitCode.INTERNAL
            screen.err(f"✗ {_described(bug)}")

    thread = Thread(target=conduct, daemon=True)
    # Ctrl-C would be lost where it comes just before a write that blocks, or within an import.
    try:
        thread.start()
        while thread.is_alive():
            thread.join(TICK)
    except KeyboardInterrupt:
        from copy import copy  # noqa: PLC0415 for this alone

        last = copy(report)  # the other threads may be filling theirs still
        seconds, phase = time.monotonic() - report.started, report.exchange.phase.value
        _judge(Failure("interrupted", f"interrupted after {seconds:.1f} s while {phase}"), last)

        def publish() -> None:
            screen.last_words(last.headline)
            if args.json:
                screen.out(_document(args, last))

        thread = Thread(target=publish, daemon=True)
        thread.start()
        thread.join(LAST_WORDS)
        return last.exit_code.value
    return report.exit_code.value


def _supervise(args: Namespace, report: Report, screen: Screen) -> Outcome:
    """Have the work done in a thread: no deadline ends a name look-up, or the reading of a pipe."""
    outcomes: list[Outcome] = []
    turn = Lock()  # to print; for good where time is up

    def post(news: str | tuple[int, str]) -> None:
        with turn:
            if isinstance(news, str) and not args.quiet:
                screen.err(inline(news))
            elif not isinstance(news, str) and not (args.quiet or args.json or args.raw):
                screen.partial(*news)

    def work() -> None:
        try:
            outcomes.append(_work(args, report, post))
        except Exception as failure:  # noqa: BLE001 a bug is reported like any failure
            outcomes.append(failure)

    worker = Thread(target=work, daemon=True)
    worker.start()
    while True:
        remaining, seconds = report.exchange.remaining + GRACE, time.monotonic() - report.started
        worker.join(max(min(remaining, TICK), 0))
        if outcomes:
            return outcomes[0]
        if remaining <= 0:
            from claude_ping import ping  # noqa: PLC0415 not for what needs no network

            turn.acquire()
            return ping.timed_out(report)
        if seconds >= 1 and not args.quiet:
            with turn:
                screen.tick(f"{report.exchange.phase.value}, {seconds:.0f} s")


def _work(args: Namespace, report: Report, post: Post) -> Answer | None:
    """Ask with the settings found; for a rehearsal, with those of the built-in server alone."""
    if args.simulate is None:
        return _ask(args, report, post, settings.read_layers(args.env_file))
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    simulator.rehearse(args.simulate, report.exchange)
    with simulator.serve(args.simulate) as base_url:
        values = {"ANTHROPIC_API_KEY": SIMULATED_KEY, "ANTHROPIC_BASE_URL": base_url}
        return _ask(args, report, post, [settings.environment(values, "--simulate")])


def _ask(args: Namespace, report: Report, post: Post, layers: list[Layer]) -> Answer | None:
    """Return the answer, None for a dry run; Failure where nothing good comes of it."""
    mask.learn(settings.secrets(layers, args.header))
    payload, data = options.read_payload(args.payload) if args.payload else (None, None)
    prompt = options.read_prompt() if args.prompt == "-" else args.prompt
    given = {name: getattr(args, name) for name in options.FIELDS}
    overrides = {name: value for name, value in given.items() if value is not None}
    if prompt in ("help", "version", "models", "stream", "simulate"):
        report.warnings.append(f"{prompt} is taken as the prompt; the option is --{prompt}")
    body = (api.default_body(prompt) if payload is None else payload) | overrides
    found = settings.resolve(args, layers, body)
    if args.simulate:  # reads as the real thing would
        found = found._replace(warnings=(), facts={**found.facts, "base_url_setting": None})
    request = api.message_request(found, body, data=None if overrides else data, sdk=args.sdk)
    request = api.models_request_like(request) if args.models else request
    report.settings, report.request = found, api.shown(request)
    if args.dry_run and report.request.data != request.data:
        report.warnings.append("the body holds a secret: it is masked in the command, so not sent")
    report.warnings += found.warnings
    file, is_file, _ = found.credential.source.partition(" line ")
    if args.dry_run and not args.json and is_file:
        place = f"the {found.credential.noun} is from {found.credential.source}"
        path = shlex.quote(os.path.join(".", file))
        report.warnings.append(f"{place}: to run this, first: set -a; . {path}; set +a")
    endpoint.route(request.url, os.environ, report.exchange)
    if args.dry_run:
        return None
    from claude_ping import ping  # noqa: PLC0415 not for what needs no network

    try:
        is_default = args.model is None and args.payload is None
        answer = ping.Caller(report, post, args.retries).ask(request, is_default_model=is_default)
    finally:
        report.warnings += ping.journey_warnings(report.exchange)
    report.warnings += api.reply_notes(answer, report.request)
    return answer


def _judge(outcome: Outcome, report: Report) -> None:
    """Fill the report with the verdict on an answer, a dry run, a failure or a bug."""
    report.total = time.monotonic() - report.started
    if not isinstance(outcome, Exception):
        report.exit_code, report.headline = ExitCode.OK, "dry run: nothing was sent"
        if outcome:
            report.answer, report.key_accepted = outcome, True
            report.headline = inline(f"{outcome.status} {outcome.reason or 'OK'}")
        return
    from claude_ping import diagnosis  # noqa: PLC0415 only when something failed

    if isinstance(outcome, options.Misuse):  # it quotes what was typed
        headline, *more = mask(str(outcome)).split("\n")
        outcome = Failure("usage", headline, known=(*more, options.USAGE))
    elif not isinstance(outcome, Failure):
        outcome = Failure("internal error", _described(outcome))
    diagnosis.explain(outcome, report)


def _described(bug: Exception) -> str:
    """Say what was raised and by which lines, but not with what values."""
    from traceback import extract_tb  # noqa: PLC0415 only for bugs

    frames = extract_tb(bug.__traceback__, limit=-8)
    lines = [f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames]
    return f"a bug in claude-ping: {type(bug).__name__} in {', '.join(lines)}"


def _publish(args: Namespace, report: Report, screen: Screen) -> None:
    """Print the report in the form that was asked for, each part on its stream."""
    is_wanted = not (report.exit_code or args.quiet)
    if (args.json and report.fault != "usage") or (is_wanted and args.dry_run):
        screen.out(_document(args, report))
    elif args.raw and report.answer and not args.quiet:
        screen.raw(report.answer.body)
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


def _publish_failure(args: Namespace, report: Report, screen: Screen) -> None:
    from claude_ping import machine  # noqa: PLC0415 not for a reply

    if not args.quiet and (report.fault == "usage" or not args.json):
        screen.err(render.failure(report, screen.paint_err))
    if screen.is_in_github_actions and report.fault != "interrupted":
        screen.err(machine.workflow_command(report), is_command=True)
    elif args.quiet:
        screen.err(machine.short(report))


def _document(args: Namespace, report: Report) -> str:
    from claude_ping import machine  # noqa: PLC0415 not for a reply

    return machine.as_json(report, _client()) if args.json else machine.as_curl(report)


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
