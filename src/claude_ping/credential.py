"""What a key or token may look like, what there is instead of one, and what a server wants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from claude_ping.records import Answer, Credential, Failure, Found, Layer, Secret
from claude_ping.screen import mask, unprintable

API_KEY = "ANTHROPIC_API_KEY"
AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 a variable's name
CONSOLE_KEYS = "https://platform.claude.com/settings/keys"
KEY_LENGTH = 108  # characters of every sk-ant-api03- key so far
MAX_FILE = 1 << 16  # bytes of a file that may be another .env

# What is longer than 60 characters may be a key that looks like a placeholder by chance.
_PLACEHOLDER = r"""(?ix) (?=.{1,60}$) ( .*(\.\.\.|…).* | (sk-)?(ant-)?(api\d\d-)?[x*_-]+
    | (.*[-_ ])?(your|my|replace|insert|change|paste|enter|add)[-_ ]?
      (me|this|here|with|anthropic|claude|api|key|secret|token)([-_ ].*)?
    | (sk-ant-)?(api\d\d-)?
      (placeholder|dummy|example|secret|token|key|api[-_]?key|none|todo|test) )"""
# What the tool that understands it has not put a key in the place of.
_REFERENCE = r"""(?x) \$?\{\{.*\}\} | \} | \$\{?\w+\}? | \$\(.*\) | %\w+% | \$env:\w+
    | (?i:secrets|env|vars)\.\w+ | (?i:op|vault|keyring|doppler|ssm|gsm|sops|ref|file)(\+\w+)?:.*
    | ANTHROPIC_\w+ | arn:aws.* | encrypted:.* | projects/.*/secrets/.* | @Microsoft\.KeyVault.*
    | [A-Z]:\\.* | ~?\.{0,2}/[\w.-]+/.*"""
_RESOLVE = "Let what resolves it start claude-ping (op run -- claude-ping), or put the key there."
# What no API could accept: what it is, how to mend it, and a pattern for the whole value.
_DEFECTS = r"""
is the word {value}, not a key | Put the key there, or unset it. | (?i)undefined|null|nil
begins with ANTHROPIC_API_KEY= | Put only the key there. | (export\s+)?ANTHROPIC_\w+\s*=.*
begins with Bearer | Remove it: the header is made here. | (?i)bearer\b.*
is in angle brackets, as a placeholder is | Put your own key there: {console} | <.*>
has quotes around it | Remove them: docker's --env-file and CI keep quotes. | ['"`].*|.*['"`]
has a comment in it | Put it on its own line: docker's --env-file keeps it in the value. | .*\s#.*
"""
# The same at api.anthropic.com alone: gateways may take anything.
_DEFECTS_AT_HOME = r"""
is the id of a key, not the key | A key is shown once, when created: {console} | apikey_[!-~]*
begins with k-ant-: its first letter is missing | Copy it again: {console} | k-ant-[!-~]*
holds the key twice, or a placeholder before it | Put only the key there. | [!-~]+sk-ant-[!-~]*
"""
# What a credential's first characters say against it at api.anthropic.com: a guess.
_OTHER_KINDS = r"""
an Admin API key, which cannot send messages | sk-ant-(admin|api01)
an OAuth access token, which SDK programs send as Bearer, as --sdk does | sk-ant-oat
an OAuth refresh token, which no request may carry | sk-ant-ort
a browser session, not an API key | sk-ant-sid
an OpenAI key | sk-(proj|svcacct)-
an OpenRouter key | sk-or-
a Google key | AIza
an AWS access key | AKIA
a Groq key | gsk_
an xAI key | xai-
a Hugging Face token | hf_
a GitHub token | gh\w_|github_pat_
"""


def check(value: str, where: str, *, is_home: bool) -> None:
    """Refuse a key or token that cannot be accepted, saying why but never showing it.

    `where` is the variable and its place.
    """
    if defect := _defect(value, is_home=is_home):
        words, remedy = defect
        message = f"{where} {words} ({len(value)} characters, not shown)"
        raise Failure("unusable setting", message, hints=(remedy,))


def _defect(value: str, *, is_home: bool) -> tuple[str, str] | None:
    """Return what is wrong with a key, and the remedy."""
    bare = value.strip()
    if re.fullmatch(_REFERENCE, bare):
        return "is a reference, not a key: nothing resolved it", _RESOLVE
    rows = _DEFECTS + (_DEFECTS_AT_HOME if is_home else "")
    for row in filter(None, rows.split("\n")):
        words, remedy, pattern = row.split(" | ")
        if re.fullmatch(pattern, bare, re.DOTALL):
            return words.replace("{value}", bare), remedy.replace("{console}", CONSOLE_KEYS)
    if is_home and is_placeholder(bare):
        return "is a placeholder, not a key", f"Put your own key there: {CONSOLE_KEYS}"
    problem = unprintable(value, allowed="")
    if problem and "U+" in problem:
        return problem, f"Documents and chats put it there: copy the key again: {CONSOLE_KEYS}"
    remedy = 'Set it without: in a shell by printf %s "$KEY"; in CI, paste the secret again.'
    return (problem, remedy) if problem else None


def is_placeholder(value: str) -> bool:
    """Whether the value is what an example has in place of a key."""
    return bool(re.fullmatch(_PLACEHOLDER, value.strip()))


def _suspicion(credential: Credential) -> str | None:
    """Say what else this credential looks like; a guess."""
    value, place = credential.secret.reveal(), f"{credential.name} ({credential.source})"
    is_token = credential.kind == "auth_token"
    if is_token and value.startswith("sk-ant-api03-"):
        return f"{place} holds an API key: set it as {API_KEY}, for programs that send x-api-key"
    for row in _OTHER_KINDS.strip().split("\n"):
        kind, pattern = row.split(" | ")
        if re.match(pattern, value) and not (is_token and "OAuth access" in kind):
            return f"{place} looks like {kind}. Create an API key: {CONSOLE_KEYS}"
    return None


def facts(credential: Credential, *, sdk: bool, is_home: bool) -> dict[str, str | None]:
    """Return what the table of failures may say of the credential."""
    value, noun = credential.secret.reveal(), credential.noun
    origin = f"{len(value)} characters, {credential.name} from {credential.source}"
    is_usual = not value.startswith("sk-ant-api03-") or len(value) == KEY_LENGTH
    header = "x-api-key" if credential.kind == "api_key" and not sdk else "authorization"
    return {
        "noun": noun,
        "source": credential.source,
        "credential": f"{noun} {credential.secret} ({origin})",
        "credential_header": header,
        "api_key_sent": "" if header == "x-api-key" else None,
        "oauth": "" if header == "x-api-key" and value.startswith("sk-ant-oat") else None,
        "unusual_length": None if is_usual else str(len(value)),
        "suspicion": _suspicion(credential) if is_home else None,
    }


_HEADER = r"((?:[a-z0-9]+-)*(?:authorization|token|key|auth)|x-[a-z0-9-]+)"


def wanted(message: str, answer: Answer, sent: Mapping[str, str | Secret]) -> dict[str, str | None]:
    """Return what the server names as wanted in place of what was sent, by the table's names.

    On a 401, WWW-Authenticate names the scheme, often the header too (RFC 9110, 11.6.1).
    """
    challenge = answer.headers.get("www-authenticate", "") if answer.status == 401 else ""
    message = message[:1000]  # the patterns are not linear
    scheme = challenge.partition(" ")[0].rstrip(",").lower()
    scheme = "bearer" if "bearer" in challenge.lower() else scheme
    if answer.status not in (400, 401, 403) or scheme in ("negotiate", "ntlm", "digest"):
        return {}
    patterns = (
        (rf"['\"`]?\b{_HEADER}['\"`]? (?:http |request )?(?:header|field)\b", message),
        (rf"\bheaders?:? (?:named |called )?['\"`]?{_HEADER}\b", message),
        (r"(?:header(?:_name)?|name)=[\"']?([\w-]+)", challenge),
        (r"\b((?:cf|x)-[a-z0-9-]+)['\"`]? (?:is )?required", message),
    )
    found = (re.search(pattern, text, re.IGNORECASE) for pattern, text in patterns)
    name = next((match[1] for match in found if match), None)
    if name is None and scheme:
        name = "x-api-key" if scheme in ("apikey", "api-key", "x-api-key") else "authorization"
    if name is None or name.lower() in sent:
        return {}
    if name.lower() == "x-api-key":
        return {"api_key_wanted": ""}
    if name.lower() != "authorization":
        return {"wanted_header": name}
    return {"bearer_wanted": ""} if scheme in ("", "bearer") else {"wanted_scheme": scheme.title()}


_MISNAMED = (
    r"(?i)(\$env:|[A-Z]+_)?(claude|anthropic|antropic|anthorpic)(_ai|_code)?(_oauth)?"
    r"_?(api|auth|secret)?_?(key|token)s?(_file)?\s*"
)


def is_misnamed(name: str) -> bool:
    """Whether a variable's name is, or looks like, the one of a key or token."""
    return bool(re.fullmatch(_MISNAMED, name))


def no_key(every: Sequence[Found], layers: Sequence[Layer]) -> Failure:
    """Say what there is instead of a key, the likeliest slip first."""
    file = next((layer for layer in layers if layer.text is not None), None)
    environ = {one.name: one.value for one in every if not one.is_in_file}
    slips = list(_misplaced(file.text or "", file.label)) if file else []
    slips += [
        f"{mask(one.name)!r}{' (with a space at its end)' * one.name.endswith(' ')} is set"
        f" ({one.place}); the name must be {API_KEY}"
        for one in every
        if one.value and one.name not in (API_KEY, AUTH_TOKEN) and is_misnamed(one.name)
    ]
    slips += [*_beside(), *_elsewhere(environ)]
    slips += [
        f"{one.name} {'expands to nothing' if one.is_foreign else 'is empty'} in {one.place}"
        for one in sorted(every, key=lambda one: one.name)
        if one.name in (API_KEY, AUTH_TOKEN)
    ]
    reason = _ci_reason(environ)
    path = mask(os.path.abspath(file.label if file else ".env"))
    return Failure(
        "no key",
        f"no API key: {[*slips, f'{API_KEY} is not set'][0]}",
        known=(f"Looked in the environment and {'' if file else 'for a '}{path}",),
        hints=tuple(slips[1:3]),
        ci_reason=reason,
        env_file=None if reason or environ.get("CI") else path,
    )


# Variable, its value, and why a CI runner has no key; the first that fits.
_CI_REASONS = r"""
GITHUB_ACTOR | dependabot\[bot\]
  Dependabot is given secrets of its own: Settings, Secrets and variables, Dependabot.
GITHUB_EVENT_NAME | push|schedule
  The step needs env: {secret}; a called workflow needs secrets: inherit
GITHUB_ACTIONS | true
  Pull requests from forks are given no secrets. Otherwise the step needs env: {secret}
GITLAB_CI | .+
  GitLab gives protected variables to protected branches only: Settings, CI/CD, Variables.
TF_BUILD | .+
  Azure Pipelines gives a secret only to the step that maps it: env: {name}: $({name})
"""


def _ci_reason(environ: Mapping[str, str]) -> str | None:
    """Say why this CI runner may have no key; None where it is none, or not known."""
    lines = _CI_REASONS.strip().split("\n")
    for head, reason in zip(lines[::2], lines[1::2], strict=True):
        name, value = head.split(" | ")
        if re.fullmatch(value, environ.get(name, "")):
            secret = f"{API_KEY}: ${{{{ secrets.{API_KEY} }}}}"
            return reason.strip().replace("{secret}", secret).replace("{name}", API_KEY)
    return None


def _misplaced(text: str, label: str, *, is_read: bool = True) -> Iterator[str]:
    """Yield each line of a `.env`, or of a file beside it, that holds a key as it should not."""
    line_of = r"\s*(#?)\s*(?:export\s+)?([\w.-]*)\s*([:=]?)\s*([\"']?)(.*)"
    for number, line in enumerate(text.split("\n"), 1):
        comment, name, separator, quote, rest = re.match(line_of, line).groups()  # type: ignore[union-attr]
        place, is_key = f"{label} line {number}", "sk-ant-" in line
        if not is_read:
            if is_key or name in (API_KEY, AUTH_TOKEN):
                yield f"{place} holds one, but {label} is not read: claude-ping --env-file {label}"
                return
        elif comment and (is_key or (name == API_KEY and separator)):
            yield f"{place} is commented out"
        elif name == API_KEY and separator != "=":
            yield f'{place} has "{separator or " "}" instead of "=" after {API_KEY}'
        elif name == API_KEY and quote and quote not in rest:
            yield f"the quote opened in {place} is never closed"
        elif is_key and name not in (API_KEY, AUTH_TOKEN, "ANTHROPIC_CUSTOM_HEADERS"):
            called = f" as {mask(name)}" if separator and not name.startswith("sk-") else ""
            yield f"{place} holds a key{called}; write {API_KEY}=…"


def _beside() -> Iterator[str]:
    """Yield what files beside the place of `.env` hold a key that is not read."""
    names = r"(?!.*\.(example|sample|template|dist)$)(\.env\..+|.*\.env|env|\.envrc)"
    for entry in sorted(os.listdir(".")):
        is_other = entry != ".env" and re.fullmatch(names, entry)
        if is_other and os.path.isfile(entry) and os.access(entry, os.R_OK):
            with open(entry, "rb") as file:
                text = file.read(MAX_FILE).decode("utf-8", "replace")
            yield from _misplaced(text, mask(entry), is_read=False)


def _elsewhere(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what SDK programs run on without a key: workload identity, a profile on disk."""
    tested = "claude-ping tests keys and tokens"
    if profile := environ.get("ANTHROPIC_PROFILE"):
        yield f"ANTHROPIC_PROFILE={mask(profile)}: SDK programs can run on it; {tested}"
    if environ.get("ANTHROPIC_FEDERATION_RULE_ID"):
        yield f"workload identity is set up: SDK programs can run on it; {tested}"
    home, windows = os.path.expanduser("~/.config/anthropic"), environ.get("APPDATA")
    default = os.path.join(windows, "Anthropic") if windows else home
    folder = environ.get("ANTHROPIC_CONFIG_DIR") or default
    if os.path.isdir(os.path.join(folder, "configs")):
        yield f"SDK programs can run on the profile in {mask(folder)}; {tested}"
