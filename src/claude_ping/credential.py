"""What a key or token may look like, what there is instead of one, and what a server wants."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claude_ping.records import Answer, Credential, Failure, Layer, Secret
from claude_ping.screen import mask, read_text, unprintable

API_KEY = "ANTHROPIC_API_KEY"
AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 a variable's name
CONSOLE_KEYS = "https://platform.claude.com/settings/keys"

# What is longer than 60 characters may be a key that looks like a placeholder by chance.
PLACEHOLDER = r"""(?ix) (?=.{1,60}$) ( .*(\.\.\.|…).* | (sk-)?(ant-)?(api\d\d-)?[x*_-]+
    | (.*[-_ ])?(your|my|replace|insert|change|paste|enter|add)[-_ ]?
      (me|this|here|with|anthropic|claude|api|key|secret|token)([-_ ].*)?
    | (sk-ant-)?(api\d\d-)?
      (placeholder|dummy|example|secret|token|key|api[-_]?key|none|todo|test) )"""
# What the tool that understands it has not put a key in the place of.
_REFERENCE = r"""(?x) \$?\{\{.*\}\} | \} | \$\{?\w+\}? | \$\(.*\) | %\w+% | \$env:\w+
    | (?i:secrets|env|vars)\.\w+ | (?i:op|vault|keyring|doppler|ssm|gsm|sops|ref|file)(\+\w+)?:.*
    | ANTHROPIC_\w+ | arn:aws.* | encrypted:.* | projects/.*/secrets/.* | @Microsoft\.KeyVault.*
    | [A-Z]:\\.* | ~?\.{0,2}/[\w.-]+/.*"""
# What it is instead of a key, how to mend that, and a pattern for the whole value; @ marks what the
# API alone cannot take: gateways may take anything.
_DEFECTS = r"""
is a reference, not a key: nothing resolved it | Let what resolves it start claude-ping (op run -- claude-ping), or put the key there. | REFERENCE
is the word {value}, not a key | Put the key there, or unset it. | (?i)undefined|null|nil
begins with ANTHROPIC_API_KEY= | Put only the key there. | (export\s+)?ANTHROPIC_\w+\s*=.*
begins with Bearer | Remove it: the header is made here. | (?i)bearer\b.*
is in angle brackets, as a placeholder is | Put your own key there: {console} | <.*>
has quotes around it | Remove them: docker's --env-file and CI keep quotes. | ['"`].*|.*['"`]
has a comment in it | Put it on its own line: docker's --env-file keeps it in the value. | .*\s#.*
@is the id of a key, not the key | A key is shown once, when created: {console} | apikey_[!-~]*
@begins with k-ant-: its first letter is missing | Copy it again: {console} | k-ant-[!-~]*
@holds the key twice, or a placeholder before it | Put only the key there. | [!-~]+sk-ant-[!-~]*
@is a placeholder, not a key | Put your own key there: {console} | PLACEHOLDER
"""
# What the first characters of a credential, or of its kind and it, say against it at the API.
_OTHER_KINDS = r"""
an API key, which belongs in ANTHROPIC_API_KEY | auth_token sk-ant-api03-
an Admin API key, which cannot send messages | sk-ant-(admin|api01)
an OAuth access token, which SDK programs send as Bearer, as --sdk does | api_key sk-ant-oat
an OAuth refresh token, which no request may carry | sk-ant-ort
a browser session, not an API key | sk-ant-sid
the key of another vendor | sk-(proj|svcacct|or)-|AIza|AKIA|gsk_|xai-|hf_|gh\w_|github_pat_
"""


def check(value: str, where: str, *, is_home: bool) -> None:
    """Refuse a key or token that cannot be accepted, saying where and why but never showing it."""
    if re.fullmatch(r"(?a)sk-ant-api\d\d-[\w-]{95}", value):
        return  # whole; what follows takes its time
    bare, patterns = value.strip(), {"REFERENCE": _REFERENCE, "PLACEHOLDER": PLACEHOLDER}
    problem = unprintable(value, allowed="")
    remedy = (
        'Set it again without it: in a shell use printf %s "$KEY"; in CI, paste the secret again.'
    )
    if problem and "U+" in problem:
        remedy = "Documents and chats put it there: copy the key again: {console}"
    for row in _DEFECTS.strip().split("\n"):
        words, mending, pattern = row.split(" | ")
        is_meant = is_home or not words.startswith("@")
        if is_meant and re.fullmatch(patterns.get(pattern, pattern), bare, re.DOTALL):
            problem, remedy = words.removeprefix("@").replace("{value}", bare), mending
            break
    if problem:
        message = f"{where} {problem} ({len(value)} characters, not shown)"
        hint = remedy.replace("{console}", CONSOLE_KEYS)
        raise Failure("unusable setting", message, hints=(hint,))


def facts(credential: Credential, *, sdk: bool, is_home: bool) -> dict[str, Any]:
    """Return what the table of failures may say of the credential."""
    kind, secret, name, source = credential
    value, is_key_header = secret.reveal(), kind == "api_key" and not sdk
    is_usual = not value.startswith("sk-ant-api03-") or len(value) == 108  # as all so far
    rows = (row.split(" | ") for row in _OTHER_KINDS.strip().split("\n"))
    shown = f"{kind} {value}"
    others = (other for other, start in rows if re.match(rf"({kind} )?({start})", shown))
    other = next(others, None) if is_home else None
    return {
        "noun": credential.noun,
        "source": source,
        "credential": f"{credential.noun} {secret} ({len(value)} characters, {name} from {source})",
        "credential_header": "x-api-key" if is_key_header else "authorization",
        "api_key_sent": is_key_header,
        "oauth": is_key_header and value.startswith("sk-ant-oat"),
        "unusual_length": None if is_usual else len(value),
        "suspicion": other and f"{name} ({source}) looks like {other}. API keys: {CONSOLE_KEYS}",
    }


# How a message, or WWW-Authenticate (RFC 9110, 11.6.1), names the header that is wanted.
_HEADER = r"['\"`]?\b((?:[a-z0-9]+-)*(?:authorization|token|key|auth)|x-[a-z0-9-]+)['\"`]?"
_WANTED = rf"""(?ix){_HEADER}[ ](?:http[ ]|request[ ])?(?:header|field)\b
    | \bheaders?:?[ ](?:named[ ]|called[ ])?{_HEADER}(?![\w-])
    | \b((?:cf|x)-[a-z0-9-]+)['\"`]?[ ](?:is[ ])?required
    | \n.*(?:header(?:_name)?|name)=[\"']?([\w-]+)"""


def wanted(message: str, answer: Answer, sent: Mapping[str, str | Secret]) -> dict[str, Any]:
    """Return what the server names as wanted in place of what was sent, by the table's names."""
    challenge = answer.headers.get("www-authenticate", "") if answer.status == 401 else ""
    scheme = challenge.partition(" ")[0].rstrip(",").lower()
    scheme = "bearer" if "bearer" in challenge.lower() else scheme
    if answer.status not in (400, 401, 403) or scheme in ("negotiate", "ntlm", "digest"):
        return {}
    found = re.search(_WANTED, f"{message[:1000]}\n{challenge}")  # the pattern is not linear
    name = next(filter(None, found.groups()), "") if found else ""
    if not name and scheme:
        name = "x-api-key" if scheme in ("apikey", "api-key", "x-api-key") else "authorization"
    if not name or name.lower() in sent:
        return {}
    if name.lower() == "authorization" and scheme not in ("", "bearer"):
        return {"wanted_scheme": scheme.title()}
    facts = {"x-api-key": "api_key_wanted", "authorization": "bearer_wanted"}
    return {facts.get(name.lower(), "wanted_header"): name}


def is_misnamed(name: str) -> bool:
    """Whether a variable's name is, or looks like, the one of a key or token."""
    vendor = r"(?i)(\$env:|[A-Z]+_)?(claude|anthropic|antropic|anthorpic)(_ai|_code)?(_oauth)?"
    return bool(re.fullmatch(vendor + r"_?(api|auth|secret)?_?(key|token)s?(_file)?\s*", name))


def no_key(layers: Sequence[Layer]) -> Failure:
    """Say what there is instead of a key, the likeliest slip first."""
    every = [one for layer in layers for one in layer.found.values()]
    file = next((layer for layer in layers if layer.text is not None), None)
    environ = {one.name: one.value for one in every if not one.file}
    slips = list(_misplaced(file.text or "", file.label)) if file else []
    slips += [
        f"{mask(one.name)}{' (with a space at its end)' * one.name.endswith(' ')} is set"
        f" ({one.place}); the name must be {API_KEY}"
        for one in every
        if one.value and one.name not in (API_KEY, AUTH_TOKEN) and is_misnamed(one.name)
    ]
    slips += [*_beside(), *_elsewhere(environ)]
    slips += [
        f"{one.name} {'expands to nothing' if one.is_foreign else 'is empty'} in {one.place}"
        for one in sorted(every)
        if one.name in (API_KEY, AUTH_TOKEN)
    ]
    secret = f"{API_KEY}: ${{{{ secrets.{API_KEY} }}}}"
    reasons = (row.split(" | ") for row in _CI_REASONS.strip().split("\n"))
    fitting = (why for name, value, why in reasons if re.fullmatch(value, environ.get(name, "")))
    reason = next(fitting, "").replace("{secret}", secret).replace("{name}", API_KEY) or None
    path = mask(os.path.abspath(file.label if file else ".env"))
    looked = path if file else f"no .env in {os.path.dirname(path)} or above it"
    return Failure(
        "no key",
        f"no API key: {[*slips, f'{API_KEY} is not set'][0]}",
        known=(f"Looked in the environment; {'in ' * bool(file)}{looked}",),
        hints=tuple(slips[1:3]),
        ci_reason=reason,
        env_file=None if reason or environ.get("CI") else path,
    )


# Variable, its value, and why a CI runner has no key; the first that fits.
_CI_REASONS = r"""
GITHUB_ACTOR | dependabot\[bot\] | Dependabot is given secrets of its own: Settings, Secrets.
GITHUB_EVENT_NAME | push|schedule | The step needs env: {secret}; a called workflow needs secrets: inherit
GITHUB_ACTIONS | true | Pull requests from forks are given no secrets. Otherwise the step needs env: {secret}
GITLAB_CI | .+ | GitLab gives protected variables to protected branches only: Settings, CI/CD.
TF_BUILD | .+ | Azure Pipelines gives a secret only to the step that maps it: env: {name}: $({name})
"""


def _misplaced(text: str, label: str) -> Iterator[str]:
    """Yield each line of a `.env` that holds a key as it should not."""
    line_of = r"\s*(#?)\s*(?:export\s+)?([\w.-]*)\s*([:=]?)\s*([\"']?)(.*)"
    for number, line in enumerate(text.split("\n"), 1):
        comment, name, separator, quote, rest = re.match(line_of, line).groups()  # type: ignore[union-attr]
        place, is_key = f"{label} line {number}", "sk-ant-" in line
        if comment and (is_key or (name == API_KEY and separator)):
            yield f"{place} is commented out"
        elif name == API_KEY and separator != "=":
            yield f'{place} has "{separator or " "}" instead of "=" after {API_KEY}'
        elif name == API_KEY and quote and quote not in rest:
            yield f"the quote opened in {place} is never closed"
        elif is_key and not is_misnamed(name) and name != "ANTHROPIC_CUSTOM_HEADERS":
            called = f" as {mask(name)}" if separator and not name.startswith("sk-") else ""
            yield f"{place} holds a key{called}; write {API_KEY}=…"


def _beside() -> Iterator[str]:
    """Yield what files beside the place of `.env` hold a key that is not read."""
    names = r"(?!.*\.(example|sample|template|dist)$)(\.env\..+|.*\.env|env|\.envrc)"
    for entry in sorted(os.listdir(".")):
        if entry != ".env" and re.fullmatch(names, entry) and os.path.isfile(entry):
            with contextlib.suppress(ValueError):
                text, label = read_text(entry, 1 << 16), mask(entry)
                if key := re.search(r"sk-ant-|ANTHROPIC_(API_KEY|AUTH_TOKEN)\b", text):
                    line = text.count("\n", 0, key.start()) + 1
                    yield f"{label} line {line} holds one: claude-ping --env-file {label}"


def _elsewhere(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what SDK programs run on without a key: workload identity, a profile on disk."""
    windows, home = environ.get("APPDATA"), os.path.expanduser("~/.config/anthropic")
    folder = environ.get("ANTHROPIC_CONFIG_DIR") or (windows and f"{windows}/Anthropic") or home
    profile, configs = environ.get("ANTHROPIC_PROFILE"), os.path.join(folder, "configs")
    for is_there, what in (
        (profile, f"the profile {profile} (ANTHROPIC_PROFILE)"),
        (environ.get("ANTHROPIC_FEDERATION_RULE_ID"), "workload identity"),
        (os.path.isdir(configs), f"the profile in {configs}"),
    ):
        if is_there:
            yield f"SDK programs can run on {mask(what)}; claude-ping tests keys and tokens"
