"""The ways to fail, one row each; the first that matches speaks.

Templates are filled with the facts of a run (`diagnosis.facts`). A line that needs a fact
nobody knows is left out: that is how a hint comes to be shown only where it applies.
"""

from __future__ import annotations

from typing import NamedTuple

from claude_ping.checks import CONSOLE_KEYS
from claude_ping.records import ExitCode, Fault

API_STATUS = "https://status.claude.com"
CONSOLE = "https://platform.claude.com/settings"


class Rule(NamedTuple):
    """One way to fail: what it looks like, then what to say of it."""

    name: str
    exit_code: ExitCode
    headline: str = "{status} {type_}{message}"
    known: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    fault: Fault = Fault.HTTP
    status: range | tuple[int, ...] = range(1000)
    type: str | None = None
    code: tuple[str, ...] = ()
    says: str = ""  # a pattern that the message holds, whatever its case
    by: str | None = None  # who must have answered: "api", "html", "other"
    key_accepted: bool | None = None
    retryable: bool | None = None  # None: as the exit code has it


_NOT_KEY = "Neither the key nor the request is at fault."
_WAIT = ("{retry_after}", "{unfit_wait}")
_NO_OAUTH = "Subscription tokens do not work here. Make an API key: " + CONSOLE_KEYS
_TEXT_OF_API = "The API read the request and refused it; its own words say why."
_FROM = ("{no_request_id}",)
_FACTS_OF_SENDING = ("{via}", "{sent}")

RULES = (
    # 401: whoever says it, the credential is what was refused.
    Rule(
        "credential stripped",
        ExitCode.AUTH,
        known=(
            "{Credential} was sent in the header {credential_header}: it was taken out, or is looked for elsewhere.",
        ),
        hints=("{gateway}", "{proxy}", "{custom_headers}"),
        status=(401,),
        says="header is required|no api key|missing.{0,20}(api key|credential)",
        key_accepted=False,
    ),
    Rule(
        "OAuth token refused",
        ExitCode.AUTH,
        known=("{answerer} refused {credential} as an OAuth token.",),
        hints=("{shadowed}", _NO_OAUTH),
        status=(401,),
        says="oauth",
        key_accepted=False,
    ),
    Rule(
        "origin refused",
        ExitCode.AUTH,
        known=("The request carried an Origin header, which this organization does not allow.",),
        hints=("Remove the header: see -H and ANTHROPIC_CUSTOM_HEADERS.",),
        status=(401,),
        says="CORS",
        key_accepted=False,
    ),
    Rule(
        "key not accepted",
        ExitCode.AUTH,
        known=("{answerer} did not accept {credential}.", *_FROM),
        hints=(
            "{shadowed}",
            "{suspicion}",
            "{unusual_length}",
            "{home_key}",
            "{gateway_key}",
            "{gateway}",
        ),
        status=(401,),
        key_accepted=False,
    ),
    # Account: the key is good, the organization behind it may not spend.
    Rule(
        "no credit",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("The key is good: {organization} accepted it, but has no API credit.",),
        (
            f"Add credit for that organization: {CONSOLE}/billing",
            "A Claude Pro or Max plan does not pay for API calls.",
            "Paid just now? It can take an hour to count.",
        ),
        status=(400, 402, 403, 429),
        says="credit balance",
        key_accepted=True,
    ),
    Rule(
        "spend limit of your own",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("The key is good: {organization} or its workspace reached a limit that somebody set.",),
        (f"Raise it: {CONSOLE}/limits (for a workspace: {CONSOLE}/workspaces)", "{regain}"),
        status=(400,),
        says="usage limits|spend(ing)? limit",
        key_accepted=True,
    ),
    Rule(
        "spend cap of the tier",
        ExitCode.ACCOUNT,
        "{status} {message}",
        (
            "The key is good: {organization} spent what its tier allows in a month. Retrying is no use.",
        ),
        (
            f"Ask for a higher tier: {CONSOLE}/limits",
            "Otherwise calls work again on the first of next month, 00:00 UTC.",
        ),
        status=(429,),
        code=("enforced_spend_limit_reached",),
        key_accepted=True,
    ),
    Rule(
        "spend cap of the contract",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("The key is good: {organization} reached the cap in its contract. Retrying is no use.",),
        ("Talk to your Anthropic account team.",),
        status=(429,),
        code=("contract_spend_limit_reached",),
        key_accepted=True,
    ),
    Rule(
        "spend cap",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("The key is good: {organization} reached a spending cap. Retrying is no use.",),
        (f"See which, and raise it: {CONSOLE}/limits", "{regain}"),
        status=(429,),
        says="usage limits|usage threshold|\\bspend(ing)?\\b",
        key_accepted=True,
    ),
    Rule(
        "organization disabled",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("{Credential} belongs to {organization}, which is disabled.",),
        (
            "{shadowed}",
            "Often it is an old key, left over from another organization: see where it came from.",
            "Otherwise ask support, with the request-id: https://support.claude.com",
        ),
        status=(400, 403),
        says="organization has been disabled",
        key_accepted=True,
    ),
    Rule(
        "organization on hold",
        ExitCode.ACCOUNT,
        "{status} {message}",
        ("The key is good, but {organization} is on hold.",),
        ("Appeal: {appeal_url}", "Ask support, with the request-id: https://support.claude.com"),
        status=(400, 403),
        code=("organization_on_hold",),
        key_accepted=True,
    ),
    Rule(
        "billing problem",
        ExitCode.ACCOUNT,
        known=("The key is good; paying for the call is what failed.",),
        hints=("{billing}", "{gateway}"),
        status=(402,),
        key_accepted=True,
    ),
    Rule(
        "billing problem by type",
        ExitCode.ACCOUNT,
        known=("The key is good; paying for the call is what failed.",),
        hints=("{billing}", "{gateway}"),
        type="billing_error",
        key_accepted=True,
    ),
    # 400: the API's words name the field.
    Rule(
        "workspace needed",
        ExitCode.REQUEST,
        known=("The key is good, but not bound to one workspace: the request must name it.",),
        hints=(
            "Set ANTHROPIC_WORKSPACE_ID=wrkspc_… where the key is set.",
            f"Find the id: {CONSOLE}/workspaces",
            "In your own program: ANTHROPIC_CUSTOM_HEADERS='anthropic-workspace-id: wrkspc_…'",
        ),
        status=(400,),
        says="anthropic-workspace-id",
    ),
    Rule(
        "API version",
        ExitCode.REQUEST,
        known=("The header anthropic-version is missing, unknown or doubled.",),
        hints=("{custom_headers}", "{gateway}"),
        status=(400,),
        says="anthropic-version",
    ),
    Rule(
        "beta header",
        ExitCode.REQUEST,
        known=("The header anthropic-beta names something that this organization cannot use.",),
        hints=("Remove it: see -H and ANTHROPIC_CUSTOM_HEADERS.",),
        status=(400,),
        says="anthropic-beta|not enrolled in",
    ),
    Rule(
        "subscription token",
        ExitCode.REQUEST,
        known=("{Credential} comes from a Claude subscription.",),
        hints=("{shadowed}", _NO_OAUTH),
        status=(400,),
        says="only authorized for use with Claude Code",
    ),
    Rule(
        "Claude Code key orphaned",
        ExitCode.REQUEST,
        known=("Whoever made this key in the Claude Code workspace has left the organization.",),
        hints=(f"Make a key of your own: {CONSOLE_KEYS}",),
        status=(400,),
        code=("claude_code_key_creator_not_member",),
    ),
    Rule(
        "encryption key",
        ExitCode.REQUEST,
        known=("The organization's own encryption key (CMEK) cannot be used.",),
        hints=("Ask the administrator of the organization.",),
        status=(400,),
        code=("cmek_key_disabled", "cmek_key_network_blocked"),
    ),
    Rule(
        "sampling parameter",
        ExitCode.REQUEST,
        known=("Models from 4.7 on take no sampling parameters.",),
        hints=("Leave out --temperature.",),
        status=(400,),
        says="(temperature|top_p|top_k)`? (is deprecated|and|cannot)",
    ),
    Rule(
        "max_tokens too large",
        ExitCode.REQUEST,
        known=("The key is not the problem.",),
        hints=("Lower --max-tokens to at most {max_tokens_limit}",),
        status=(400,),
        says=r"max_tokens: \d+ > \d+",
    ),
    Rule(
        "prompt too long",
        ExitCode.REQUEST,
        hints=("Shorten the prompt, or ask a model with a larger context: claude-ping -m ID",),
        status=(400,),
        says="prompt is too long",
    ),
    Rule(
        "prefill",
        ExitCode.REQUEST,
        known=("This model does not continue an assistant message.",),
        hints=("End `messages` with a user message.",),
        status=(400,),
        says="prefill",
    ),
    Rule(
        "thinking",
        ExitCode.REQUEST,
        known=("Which kinds of thinking may be asked for differs from model to model.",),
        hints=("Leave out `thinking`: then the model does what it supports.",),
        status=(400,),
        says=r"thinking\.type|adaptive thinking|thinking. or .redacted_thinking",
    ),
    Rule(
        "empty or misplaced message",
        ExitCode.REQUEST,
        known=("{offending}",),
        hints=("`messages` begins with a user message, and no message is empty.",),
        status=(400,),
        says=r"non-empty|first message must|at least one message",
    ),
    Rule(
        "data retention",
        ExitCode.REQUEST,
        known=("The organization's data retention setting excludes this.",),
        hints=("Ask the administrator of the organization, or another model: claude-ping -m ID",),
        status=(400,),
        says="retention",
    ),
    Rule(
        "invalid field",
        ExitCode.REQUEST,
        known=("The API refused the field {path}; the key is not the problem.", "{offending}"),
        status=(400, 422),
        says="extra inputs are not permitted|field required|input should be|does not match",
    ),
    Rule(
        "body not read",
        ExitCode.REQUEST,
        known=("The body did not arrive as it was sent: something on the way changes it.",),
        hints=("{proxy}", "{gateway}"),
        status=(400,),
        says="not valid json|request.body.encoding|unsupported_charset",
    ),
    Rule(
        "invalid request",
        ExitCode.REQUEST,
        known=(_TEXT_OF_API, "{offending}"),
        status=(400,),
        by="api",
    ),
    # 403: the API itself, or something before it that has never seen the key.
    Rule(
        "address not allowed",
        ExitCode.AUTH,
        known=("{Credential} may only be used from certain networks, and this is not one.",),
        hints=("Ask the administrator of the organization to allow the address you call from.",),
        status=(403,),
        says="organization's allowed range",
    ),
    Rule(
        "sandbox",
        ExitCode.AUTH,
        known=("The call came from a Claude sandbox with a limited network.",),
        hints=("Run it outside of the sandbox.",),
        status=(403,),
        code=("sandbox_egress_restricted",),
    ),
    Rule(
        "OAuth not allowed",
        ExitCode.AUTH,
        known=("{Credential} is an OAuth token that may not do this.",),
        hints=("{shadowed}", _NO_OAUTH),
        status=(403,),
        says="oauth|scope requirement",
    ),
    Rule(
        "permission",
        ExitCode.AUTH,
        known=("The API knows {credential}, but does not let it do this.",),
        hints=(
            f"Look at the key's workspace and its permissions: {CONSOLE_KEYS}",
            "Does the workspace allow {model}?",
        ),
        status=(403,),
        type="permission_error",
    ),
    Rule(
        "blocked at the edge",
        ExitCode.PROTOCOL,
        known=(
            "Blocked before the key was looked at: by country, VPN or data-centre address.",
            "{cf_ray}",
        ),
        hints=(
            "Try from another network; without VPN or proxy.",
            "Countries: https://platform.claude.com/docs/en/api/supported-regions",
        ),
        status=(403,),
        type="forbidden",
        by="other",
    ),
    Rule(
        "blocked by Cloudflare",
        ExitCode.PROTOCOL,
        "{status} blocked by Cloudflare: {message}",
        ("The request did not reach the API; the key was not looked at.", "{cf_ray}"),
        ("Try from another network; without VPN or proxy.",),
        status=(403,),
        says="just a moment|edge ip restricted|you have been blocked|attention required|error code: 1[0-9]{3}",
    ),
    Rule(
        "forbidden by the API",
        ExitCode.AUTH,
        known=("The API refused {credential} for this.",),
        hints=(f"Look at the key's workspace and its permissions: {CONSOLE_KEYS}",),
        status=(403,),
        by="api",
    ),
    Rule(
        "blocked on the way",
        ExitCode.PROTOCOL,
        known=(
            "Something refused, and it was not the API itself. {unseen}",
            "{no_request_id}",
            "{via}",
        ),
        hints=("{proxy}", "{gateway}", "Ask your network's administrator to allow {host}."),
        status=(403,),
    ),
    # 404: the model, the workspace or the path.
    Rule(
        "model not found",
        ExitCode.REQUEST,
        known=("The model {model} is unknown, retired, or not for this organization.",),
        hints=("{model_pattern}", "{closest}", "See them all: claude-ping --models"),
        status=(404,),
        says=r"^model: ",
    ),
    Rule(
        "workspace not found",
        ExitCode.REQUEST,
        known=(
            "The request named the workspace {sent_workspace}, and something of it was not found.",
        ),
        hints=("Is the id right, and has the key access to it? " + CONSOLE + "/workspaces",),
        status=(404,),
        type="not_found_error",
        says="workspace",
    ),
    Rule(
        "not found by the API",
        ExitCode.REQUEST,
        known=("The API answered, but knows no such thing.",),
        hints=("{sent_workspace_hint}", "{gateway}", "{model_pattern}"),
        status=(404,),
        by="api",
    ),
    # 429: the key works; who must wait, and how long.
    Rule(
        "growing too fast",
        ExitCode.RATE,
        known=("The key works; the load grew faster than the API allows.", *_WAIT),
        hints=("Raise the load more gently.",),
        status=(429,),
        code=("ramp_limit_exceeded",),
        key_accepted=True,
    ),
    Rule(
        "too many at once",
        ExitCode.RATE,
        known=("The key works; too many calls run at the same time.", *_WAIT),
        hints=("Run fewer in parallel.",),
        status=(429,),
        says="concurrent connections",
        key_accepted=True,
    ),
    Rule(
        "rate limit",
        ExitCode.RATE,
        known=("The key works; {organization} is over a rate limit.", "{limits}", *_WAIT),
        hints=(
            "Try again later, or raise --retries and --timeout.",
            f"Your limits: {CONSOLE}/limits",
        ),
        status=(429,),
        type="rate_limit_error",
        key_accepted=True,
    ),
    Rule(
        "too many requests",
        ExitCode.RATE,
        known=("Too many requests, says what answered.", *_FROM, *_WAIT),
        hints=("{gateway}", "{proxy}", "Try again later."),
        status=(429,),
    ),
    # Other 4xx.
    Rule(
        "407 from a server",
        ExitCode.NETWORK,
        known=("A proxy between here and the API asks for a user name and a password.",),
        hints=("HTTPS_PROXY=http://user:password@host:port",),
        status=(407,),
        retryable=False,
    ),
    Rule(
        "request timeout",
        ExitCode.REQUEST,
        known=("The server gave up waiting for the request.", *_FROM),
        hints=("Try again; a slow or broken line does this too.",),
        status=(408,),
    ),
    Rule("conflict", ExitCode.REQUEST, known=(_TEXT_OF_API,), hints=("Try again.",), status=(409,)),
    Rule(
        "too large",
        ExitCode.REQUEST,
        known=("The request is larger than the API, or something before it, takes (32 MB).",),
        hints=("Shorten the prompt.",),
        status=(413,),
    ),
    Rule(
        "page not found",
        ExitCode.PROTOCOL,
        known=("A web page answered at {url}, not the Messages API.", *_FROM),
        hints=("{doubled}", "{gateway}"),
        status=range(400, 500),
        by="html",
    ),
    Rule(
        "wrong path",
        ExitCode.REQUEST,
        known=("There is no Messages API at {url}", *_FROM),
        hints=("{doubled}", "{gateway}"),
        status=(404, 405),
    ),
    Rule(
        "other request error",
        ExitCode.REQUEST,
        known=_FROM,
        hints=("{gateway}",),
        status=range(400, 500),
    ),
    # 5xx: patience.
    Rule(
        "overloaded",
        ExitCode.SERVER,
        known=(
            "Anthropic has more load than it can serve; it is not your key and not your quota.",
            *_WAIT,
        ),
        hints=(
            f"Try again later: {API_STATUS} (it may still be green).",
            "Or try another model: claude-ping -m ID",
        ),
        status=(529,),
    ),
    Rule(
        "encryption key unreachable",
        ExitCode.SERVER,
        known=("The organization's own encryption key (CMEK) cannot be reached just now.", *_WAIT),
        hints=("Try again; if it stays, ask the administrator of the organization.",),
        status=(503,),
        code=("cmek_key_unreachable", "cmek_context_unavailable"),
    ),
    Rule(
        "processing took too long",
        ExitCode.SERVER,
        known=("The API, or something before it, gave up on the request.", *_FROM),
        hints=("Try again, with a smaller --max-tokens.", f"Does it stay? {API_STATUS}"),
        status=(504,),
    ),
    Rule(
        "server error",
        ExitCode.SERVER,
        known=(_NOT_KEY, *_FROM, *_WAIT),
        hints=(
            f"Try again later: {API_STATUS}",
            "Does it stay? Send the request-id to https://support.claude.com",
        ),
        status=range(500, 600),
        by="api",
    ),
    Rule(
        "bad gateway",
        ExitCode.SERVER,
        known=("Something before the API answered.", *_FROM, *_WAIT),
        hints=("{proxy}", "{gateway}", f"Try again later: {API_STATUS}"),
        status=range(500, 600),
    ),
    # What is not the Messages API at all.
    Rule(
        "redirect",
        ExitCode.PROTOCOL,
        "{status} redirected to {location}",
        ("Not followed, so the key was not sent there.",),
        ("{gateway}", "{proxy}", "A captive portal? Open any page in a browser."),
        status=range(300, 400),
    ),
    Rule(
        "unexpected status",
        ExitCode.PROTOCOL,
        "{status} is not an answer of the Messages API: {message}",
        _FROM,
        ("{gateway}", "{proxy}"),
    ),
    Rule(
        "not a message",
        ExitCode.PROTOCOL,
        "{status} {reason}, but not {expected}: {message}",
        ("Whatever answered at {host} is not the Messages API.", *_FROM, "{via}"),
        ("{gateway}", "{proxy}", "A captive portal? Open any page in a browser."),
        fault=Fault.NOT_A_MESSAGE,
    ),
    Rule(
        "not HTTP",
        ExitCode.PROTOCOL,
        "{host} did not answer in HTTP: {message}",
        _FACTS_OF_SENDING,
        ("{gateway}", "{proxy}"),
        fault=Fault.NOT_HTTP,
    ),
    Rule(
        "reply too large",
        ExitCode.PROTOCOL,
        "the reply is larger than 32 MiB",
        ("Reading stopped there. The Messages API does not send so much.", "{via}"),
        ("{gateway}", "{proxy}"),
        fault=Fault.TOO_LARGE,
    ),
    # The network.
    Rule(
        "name not found",
        ExitCode.NETWORK,
        "cannot find {dialled}: {message}",
        ("The name look-up says that there is no such host.", "{sent}", "{via}"),
        (
            "{gateway}",
            "{proxy}",
            "Is this machine online? Does getent hosts {dialled_name} find it?",
        ),
        fault=Fault.NAME_NOT_FOUND,
    ),
    Rule(
        "name look-up unavailable",
        ExitCode.NETWORK,
        "cannot look up {dialled}: {message}",
        (
            "The name server does not answer: offline, or a container without DNS.",
            "{sent}",
            "{via}",
        ),
        ("Does any name resolve? getent hosts example.com", "{proxy}"),
        fault=Fault.NAME_UNAVAILABLE,
    ),
    Rule(
        "connection refused",
        ExitCode.NETWORK,
        "{dialled} refused the connection",
        ("Nothing listens there, or a firewall says so.", "{sent}", "{via}", "{tried}"),
        ("{proxy}", "{gateway}", "Try from another network."),
        fault=Fault.REFUSED,
    ),
    Rule(
        "unreachable",
        ExitCode.NETWORK,
        "cannot reach {dialled}: {message}",
        ("{via}", "{sent}", "{tried}"),
        ("{proxy}", "{gateway}", "Is this machine online? Does a firewall close the port?"),
        fault=Fault.UNREACHABLE,
    ),
    Rule(
        "connection lost",
        ExitCode.NETWORK,
        "connection to {dialled} lost while {phase}: {message}",
        ("{via}", "{sent}"),
        ("{proxy}", "{gateway}", "Try again; if it stays, a firewall may cut it."),
        fault=Fault.LOST,
    ),
    Rule(
        "answer cut",
        ExitCode.NETWORK,
        "the answer broke off: {message}",
        ("The request was sent and may be billed, so it is not sent again.", "{via}"),
        ("{proxy}", "{gateway}", "Try again."),
        fault=Fault.CUT,
    ),
    Rule(
        "proxy wants a password",
        ExitCode.NETWORK,
        "the proxy {proxy_host} refused the tunnel: {message}",
        ("{proxy_login}", "{sent}"),
        ("HTTPS_PROXY=http://user:password@{proxy_host}",),
        fault=Fault.PROXY,
        says="^407",
        retryable=False,
    ),
    Rule(
        "proxy refused",
        ExitCode.NETWORK,
        "the proxy {proxy_host} refused the tunnel: {message}",
        ("{sent}",),
        ("Ask its administrator to allow {host_and_port}.", "{proxy}"),
        fault=Fault.PROXY,
    ),
    Rule(
        "timeout",
        ExitCode.NETWORK,
        "no answer within {timeout} s: timed out while {phase}",
        ("{via}", "{sent}", "{tried}", "{ipv6}"),
        ("{proxy}", "{gateway}", "Give it longer: --timeout SECONDS"),
        fault=Fault.TIMEOUT,
    ),
    # TLS, by what OpenSSL says of the certificate. Waiting does not help.
    Rule(
        "TLS intercepted",
        ExitCode.NETWORK,
        "cannot verify the TLS certificate of {host}: {message}",
        (
            "{sent} {resigned}",
            "{via}",
        ),
        ("export SSL_CERT_FILE=/path/to/company-root.pem", "{ca_file}", "{gateway}"),
        fault=Fault.TLS_INTERCEPTED,
        retryable=False,
    ),
    Rule(
        "TLS issuer unknown",
        ExitCode.NETWORK,
        "cannot verify the TLS certificate of {host}: {message}",
        ("{sent} Python found no CA certificate that vouches for it.", "{via}"),
        (
            "{ca_file}",
            "Install the CA bundle (Debian: ca-certificates; python.org on macOS: Install Certificates.command).",
            "A company proxy? export SSL_CERT_FILE=/path/to/company-root.pem",
        ),
        fault=Fault.TLS_UNKNOWN_ISSUER,
        retryable=False,
    ),
    Rule(
        "TLS certificate expired",
        ExitCode.NETWORK,
        "cannot verify the TLS certificate of {host}: {message}",
        ("{sent}", "{via}", "This machine's clock says {date}."),
        ("Is the clock wrong? Set it.", "{gateway}", "{proxy}"),
        fault=Fault.TLS_EXPIRED,
        retryable=False,
    ),
    Rule(
        "TLS certificate not yet valid",
        ExitCode.NETWORK,
        "cannot verify the TLS certificate of {host}: {message}",
        ("{sent}", "{via}", "This machine's clock says {date}."),
        ("Is the clock wrong? Set it.", "{gateway}", "{proxy}"),
        fault=Fault.TLS_NOT_YET_VALID,
        retryable=False,
    ),
    Rule(
        "TLS wrong host",
        ExitCode.NETWORK,
        "the TLS certificate is not for {host}: {message}",
        (
            "{sent} Another server answered: a captive portal, a proxy, or a wrong DNS entry.",
            "{via}",
        ),
        ("{gateway}", "{proxy}", "A captive portal? Open any page in a browser."),
        fault=Fault.TLS_WRONG_HOST,
        retryable=False,
    ),
    Rule(
        "TLS client certificate",
        ExitCode.NETWORK,
        "{host} demands a TLS client certificate: {message}",
        ("The Messages API does not: something between here and there does.", "{via}", "{sent}"),
        ("{gateway}", "{proxy}"),
        fault=Fault.TLS_CLIENT_CERTIFICATE,
        retryable=False,
    ),
    Rule(
        "TLS to a plain port",
        ExitCode.NETWORK,
        "{host} does not speak TLS: {message}",
        ("{sent}", "{via}"),
        ("{gateway}", "{proxy}", "Is it the right port?"),
        fault=Fault.TLS_NOT_TLS,
        retryable=False,
    ),
    Rule(
        "TLS failed",
        ExitCode.NETWORK,
        "TLS with {host} failed: {message}",
        ("{via}", "{sent}"),
        ("{proxy}", "{gateway}", "This Python speaks TLS with {openssl}."),
        fault=Fault.TLS_OTHER,
        retryable=False,
    ),
    # What happened on this side.
    Rule("not sent", ExitCode.CONFIG, "{message}", fault=Fault.CONFIG),
    Rule("interrupted", ExitCode.INTERRUPTED, "interrupted", fault=Fault.INTERRUPTED),
    Rule(
        "a bug",
        ExitCode.INTERNAL,
        "a bug in claude-ping: {message}",
        hints=("Please report it, with what claude-ping -v prints.",),
        fault=Fault.INTERNAL,
    ),
)
