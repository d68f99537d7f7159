"""The table of failures: how each looks, what it means, whose move it is, and a specimen.

It is the only home of what is said about a failure; to add one, add a row. A row is a paragraph:

    NAME[, ALIAS]: CLASS [STATUS] [by=WHO] [about=WHAT] [key=accepted] [says=REGEX]
    < [WHO] STATUS [TYPE][/CODE]: MESSAGE a specimen: what a server answers (TYPE html: a page), or
    ! PHASE: MESSAGE                      what happens before, or instead of, an answer
      ✗ headline                          where it is not the answer's own message
      what is known
      • hint                              of all that are left, the first three are shown

STATUS is 404, 401|403, 5xx or `any`: the first of these rows that matches an answer speaks. A row
without it is chosen by its name, where the failure is noticed. WHO spoke: api, edge, gateway, or
way (something on the way). WHAT the words are about: rate, model, money, key, missing, nothing
(SUBJECTS). `says` is looked for in the message, and in error type and code.

A line is left out where a {fact} in it is not known, or one in [brackets] at its head does not
hold; `diagnosis.facts` has most of them. The lines under `== first` and `== last` go with every
row below them, before its own lines and after. Every row can be rehearsed: --simulate NAME.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from claude_ping.records import ExitCode

_TEXT = r"""
usage: usage
! SETTINGS: unknown option --modle
no key: config
! SETTINGS: no API key: ANTHROPIC_API_KEY is not set
  • {ci_reason}
  • Put ANTHROPIC_API_KEY=… into {env_file}; create a key: https://platform.claude.com/settings/keys
  • To see it work without a key: claude-ping --simulate ok
unusable setting, config: config
! SETTINGS: ANTHROPIC_API_KEY (environment) ends with a line break
interrupted: interrupted
! WAITING: interrupted after 1.8 s while waiting for the response
internal error: internal
! WAITING: a bug in claude-ping: KeyError in api.py, line 1
  • Please report it, with what claude-ping -v prints.

== first
  • The server asks for the header {wanted_header}: claude-ping -H '{wanted_header}: …', for programs ANTHROPIC_CUSTOM_HEADERS
  • [bearer_wanted] The server asks for authorization: Bearer. Try: claude-ping --sdk; programs need ANTHROPIC_AUTH_TOKEN, not ANTHROPIC_API_KEY
  • [api_key_wanted] The server asks for x-api-key: put the key into ANTHROPIC_API_KEY, and leave out --sdk
  • The server asks for {wanted_scheme} authentication: claude-ping -H 'authorization: {wanted_scheme} …'
  • The server names another version: claude-ping -H 'anthropic-version: {wanted_version}'
  A retry must wait {unfit_wait}, more than --timeout {timeout} leaves, so there was none.
  • Wait for it: claude-ping --timeout {ample_timeout}
  • [judged] {other_place} has a different {noun} ({other_key}); {source} wins. Try it: claude-ping --env-file {other_file}
== last
  • [not_api] {base_url_setting}: is it right? Without it: claude-ping --base-url https://api.anthropic.com
  • [not_api] The proxy {via} may have answered: is HTTPS_PROXY right?

rate limit, 429: rate any about=rate key=accepted
< 429 rate_limit_error: This request would exceed your organization's rate limit of 50 requests per minute.
  {limits}
  • Raise --retries and --timeout, or send less at a time.
  • [api] Your limits: https://platform.claude.com/settings/limits
model not found, 404: request any by=api about=model
< 404 not_found_error: model: {model}
  The model {model} is unknown, retired, or not for this organization.
  • Model IDs use hyphens, no spaces, dots or capital letters: {corrected}
  • {foreign_id} is an ID of Bedrock, Vertex AI or OpenRouter; here they look like claude-haiku-5-5.
  • {alias} is an alias of Claude Code; here model IDs look like claude-haiku-5-5.
  • Closest models for this key: {closest}
  • [billable] See them all: claude-ping --models
model not offered: request any about=model
< gateway 503 model_not_found: No available channel for model {model}
  {speaker} does not offer {model} to this key.
  • Closest models for this key: {closest}
  • [billable] See what it offers: claude-ping --models
  • Or ask whoever runs {host}.
no credit, credit: account any by=api about=money key=accepted says=credit balance
< 400 invalid_request_error: Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.
  The API says that the organization {organization} has too little credit.
  • Does the Console show credit for that organization? https://platform.claude.com/settings/billing
  • A Claude Pro or Max plan does not pay for API calls; a payment can take an hour to count.
  • If the Console shows credit: compare the organization's id, try a new key, then ask support.
spend cap, spend-cap: account any by=api about=money key=accepted says=(enforced|contract)_spend_limit
< 429 rate_limit_error/enforced_spend_limit_reached: You have reached your API usage limits: your organization has crossed its monthly API usage threshold.
  The API says that the organization {organization} has spent what its tier or contract allows in a month. Retrying will not help.
  • Request a higher tier: https://platform.claude.com/settings/limits, or talk to your Anthropic account team.
  • Otherwise calls work again on the first of next month, 00:00 UTC.
spend limit: account any by=api about=money key=accepted says=usage limits|spend(ing)?.?limit
< 400 invalid_request_error: You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC.
  The API says that the organization {organization} reached a spend limit set in the Console.
  • Raise it: https://platform.claude.com/settings/limits (for a workspace: https://platform.claude.com/settings/workspaces)
  • Otherwise wait until {regain}.
organization disabled: account any by=api about=money key=accepted says=organization (has been|is) (disabled|on hold)|organization_on_hold
< 400 invalid_request_error: This organization has been disabled.
  The organization {organization} may not send messages.
  • Often it is an old key of another organization: is {source} the right place?
  • Appeal: {appeal_url}
  • Otherwise ask support, with the request-id: https://support.claude.com
billing: account any by=api about=money key=accepted
< 402 billing_error: There is a problem with the payment method of this organization.
  The key is good; the API says that paying for the call is what failed.
  • Look at https://platform.claude.com/settings/billing; a subscription and API keys are paid for separately.
no money at the gateway: account any about=money
< gateway 403 insufficient_balance: Your balance is insufficient, please top up.
  {speaker} says that the account behind this key, its own and not Anthropic's, cannot pay.
  • Ask for less: claude-ping --max-tokens {affordable}
  • [card] It wants a payment card in the account there.
  • Add money to, or raise the limit of, the account at {host}.
key missing: auth 401 about=missing
< 401 authentication_error: x-api-key header is required
  {speaker} found no key in {credential_header}, where it was sent: removed on the way, or expected elsewhere.
  • [custom_headers] ANTHROPIC_CUSTOM_HEADERS or -H may replace it.
  • [api_key_sent] Current SDKs send authorization: Bearer. Try: claude-ping --sdk
OAuth token refused: auth 400|401|403 by=api says=oauth|scope requirement|only authorized for use with
< 401 authentication_error: OAuth authentication is currently not supported.
  • Subscription tokens do not work here. Create an API key: https://platform.claude.com/settings/keys
origin refused: auth 401 by=api says=CORS
< 401 authentication_error: CORS requests are not allowed for this Organization because of its settings.
  • The request carries an Origin header: remove it from -H or ANTHROPIC_CUSTOM_HEADERS.
key rejected, 401: auth 401 by=api
< 401 authentication_error: invalid x-api-key
  • {suspicion}
  • [oauth] OAuth tokens go by Bearer: claude-ping --sdk sends it as SDK programs do.
  • Is it whole? Keys of its kind have had 108 characters so far, this has {unusual_length}.
  • It was deleted, expired or mistyped: compare with https://platform.claude.com/settings/keys
key refused by the gateway: auth 401
< gateway 401: Invalid API key
  {speaker} did not accept {credential}.
  • [api_key_sent] Current SDKs send authorization: Bearer. Try: claude-ping --sdk
  • [gateway] Is it a key for {host}? It may not take Anthropic's own.
key blocked: auth any about=key
< gateway 400 expired_key: Authentication Error - Expired Key. Key Expiry time 2026-10-01
  {speaker} knows {credential}, and says that it is expired or blocked.
  • [api] Create another one: https://platform.claude.com/settings/keys
  • [gateway] Ask whoever runs {host} for another one.
permission denied, 403: auth 403 by=api|gateway
< 403 permission_error: Your API key does not have permission to use the specified resource.
  {speaker} does not let this {noun} do this.
  • [api] Check the key's workspace and permissions: https://platform.claude.com/settings/keys
  • [gateway] Ask whoever runs {host}.
blocked at the edge: protocol 403 by=edge
< edge 403 forbidden: Request not allowed
  Blocked in front of the API, usually because of country, VPN or data-center IP. Cloudflare's trace: cf-ray {cf_ray}
  • Try from another network, without VPN or proxy.
  • Countries: https://platform.claude.com/docs/en/api/supported-regions
  • Or is it the text of the message? Try a plain one: claude-ping hello
blocked on the way: protocol 403
< way 403 html: Access Denied
  A proxy or gateway in front of the API refused.
  It is Cloudflare's; its trace: cf-ray {cf_ray}
  • A network administrator must allow {host}.
  • Or is it the text of the message? Try a plain one: claude-ping hello
workspace needed: request 400 by=api key=accepted says=anthropic-workspace-id
< 400 invalid_request_error: anthropic-workspace-id is required when authenticating with an identity-linked API key; send the id of the workspace this request acts in.
  The key is good, but not bound to one workspace: the request must name it.
  • Set ANTHROPIC_WORKSPACE_ID=wrkspc_… for claude-ping; find the id: https://platform.claude.com/settings/workspaces
  • In SDK programs: ANTHROPIC_CUSTOM_HEADERS='anthropic-workspace-id: wrkspc_…'
path not found: request 404 by=api
< 404 not_found_error: Not found
  No such path on the API, or {model} is not for this key.
  [list] No such path on the API: check the base URL.
  • Remove /v1: {undoubled}
  • Has the key access to the workspace {workspace}?
  • Closest models for this key: {closest}
too large, 413: request 413
< edge 413 request_too_large: Request exceeds the maximum size
  [api_or_edge] The API takes 32 MB at the most.
  [not_api] {speaker} has a limit of its own (nginx: 1 MB unless set).
  • Shorten the prompt or the payload.
not a message, html: protocol 4xx by=way says=^an HTML page
< way 404 html: Page not found
  ✗ not the Messages API: HTTP {status} with {message}
  {speaker} answered, but not as the Messages API does.
  • [list] Send a message instead: claude-ping hello
  • Remove /v1: {undoubled}
  • [remote] [page] A captive portal? Open any page in a browser.
wrong path: request 404|405
< gateway 404: Cannot POST /v1/messages
  No such path on {host}.
  • [list] This gateway lists no models. Send a message instead: claude-ping hello
  • Remove /v1: {undoubled}
invalid request, 400: request 4xx
< 400 invalid_request_error: max_tokens: Input should be greater than or equal to 2048
  • The server asks for {wanted_parameter}: add it to the payload
  [mute] {speaker} does not say what is wrong.
  What was sent there: {offending}
  • [mute] [api] Try another model: claude-ping -m claude-sonnet-5-5; then ask support, with the request-id: https://support.claude.com
  • Lower it: claude-ping --max-tokens {max_tokens_limit}
overloaded, 529: server 529 by=api
< 529 overloaded_error: Overloaded
  The API is overloaded; your key and quota are not the cause.
  • Try again later: {status_page} (it may lag behind).
  • [billable] Or try another model: claude-ping -m claude-sonnet-5-5
Cloudflare error: server 52\d by=edge|way
< edge 522 html: api.anthropic.com | 522: Connection timed out
  ✗ {status} {cloudflare_error} (Cloudflare)
  Cloudflare did not reach the server behind it. Its trace: cf-ray {cf_ray}
  • Try again later: {status_page}
server error, 500: server 5xx
< 500 api_error: Internal server error
  [api_or_edge] Neither the key nor the request is at fault.
  • Try again later: {status_page}
  • [api] If it persists, send the request-id to https://support.claude.com
  • [gateway] If it persists, ask whoever runs {host}.
redirect: protocol 3xx
< way 307 html: Redirecting
  ✗ {status} redirected to {location}
  Not followed, so the key was not sent there; official SDKs do follow.
  • [remote] A captive portal? Open any page in a browser.
reply too large: protocol
! READING: more than 32 MiB
  ✗ the response is larger than 32 MiB
not HTTP: protocol
! WAITING: SSH-2.0-OpenSSH_9.6
  ✗ {host} does not speak HTTP: {message}
  • Is it the right port?

== first
  [diverted] {address} is no public address: a hosts entry or a DNS filter diverts {host}.
  No answer from {silent}, then tried {address}.
  • {env_network}: set in .env, it decides for your program, not for claude-ping. Try: set -a; . ./.env; set +a; claude-ping
  • [http_proxy_only] HTTP_PROXY is set, but https goes by HTTPS_PROXY, which is not.
== last
  • [connecting] [no_proxy_set] Behind a company proxy? HTTPS_PROXY is not set: export HTTPS_PROXY=http://HOST:PORT
  • {base_url_setting}: is it right? Without it: claude-ping --base-url https://api.anthropic.com
  • Is the proxy {via} right? See HTTPS_PROXY and NO_PROXY.

unknown host: connection
! DNS: Name or service not known
  ✗ could not resolve host {dialled}: {message}
  • Offline, or DNS is blocked? Check: nslookup {dialled}
name server silent: network
! DNS: Temporary failure in name resolution
  ✗ could not resolve host {dialled}: {message}
  The name server does not answer: offline, or a container without DNS.
  • Does any name resolve? Check: nslookup example.com
connection refused: network
! TCP: Connection refused
  ✗ connection refused: {dialled_port} ({address})
  • Is the proxy running on {via}?
  • Is the gateway running on {loopback}? In a container, localhost is the container itself.
  • [connecting] Nothing is listening there, or a firewall rejects it. Try another network.
unreachable: network
! TCP: Network is unreachable
  ✗ {dialled_port} is unreachable: {message}
  • Is this machine online? Is the port open in the firewall?
connect timeout: network
! TCP: timed out
  ✗ no connection to {dialled_port} within {waited}
  • No reply from {address}: a firewall may be dropping packets.
proxy timeout: network
! PROXY: timed out
  ✗ no reply from the proxy {via} within {waited}
TLS timeout: network
! TLS: timed out
  ✗ the TLS handshake with {host} timed out after {waited}
  • TCP connected, then the TLS handshake got no reply: suspect a VPN, its MTU, or a filtering firewall. Try another network.
no response, hang: network
! WAITING: timed out
  ✗ no response within {timeout} s
  [billable] The request was sent, and may be billed; so it was not sent again.
  • Check {status_page}, or allow more time: claude-ping --timeout {longer}
  • [gateway] Allow more time: claude-ping --timeout {longer}
response unfinished: network
! READING: timed out
  ✗ the response was not complete within {timeout} s
  [billable] The response had begun; it may be billed.
  • Allow more time: claude-ping --timeout {longer}
out of time: network
! SETTINGS: timed out
  ✗ not ready to send within {timeout} s
  Nothing was sent: the time went by while {phase}.
  • Is .env, --payload or standard input a pipe that nobody writes to, or that never ends?
connection lost, drop: network
! WAITING: closed without a response
  ✗ connection to {dialled_port} lost while {phase}: {message}
  • Try again; if it persists, a firewall may be cutting the connection.
response cut: network
! READING: the stream lacks stop_reason or message_stop
  ✗ the response ended early: {message}
  [billable] The request was sent and may be billed, so it was not sent again.
  • Try again.
proxy password: connection
! PROXY: 407 Proxy Authentication Required
  ✗ the proxy {via} refused CONNECT: {message}
  It offers {proxy_offers}.
  • [proxy_negotiates] It takes no password from a URL: a local helper such as px or cntlm can log in for you.
  • [proxy_login] Not the user and password that it wants: check HTTPS_PROXY.
  • [proxy_basic] It wants a password: export HTTPS_PROXY=http://USER:PASSWORD@{via}
proxy down: network
! PROXY: 502 Bad Gateway
  ✗ the proxy {via} refused CONNECT: {message}
  It could not reach {host_and_port}.
  • Try again later; if it persists, ask the proxy's administrator.
proxy refused: connection
! PROXY: 403 Forbidden
  ✗ the proxy {via} refused CONNECT: {message}
  • [http10] This Python ({python}) asks in HTTP/1.0, which some proxies refuse; SDK programs may get through. Try Python 3.12 or newer.
  • Ask its administrator to allow {host_and_port}.
proxy not HTTP: connection
! PROXY: SSH-2.0-OpenSSH_9.6
  ✗ the proxy {via} does not speak HTTP: {message}
TLS not trusted, tls: connection
! TLS: self-signed certificate in certificate chain
  ✗ the TLS certificate of {host} is not trusted: {untrusted}
  [remote] A company proxy or antivirus is probably intercepting TLS.
  CA file in use: {ca_file}
  • [empty_store] Python found no CA certificates at all: install them (Debian: ca-certificates; macOS: Install Certificates.command).
  • [ca_file] Without SSL_CERT_FILE, which alone is trusted now: env -u SSL_CERT_FILE claude-ping
  • Try your other bundle: SSL_CERT_FILE="${other_bundle}" claude-ping
  • Trust that issuer's root: export SSL_CERT_FILE=/path/to/company-root.pem
  • [macos] On macOS SDK programs may pass: they trust the system's keychain.
  • [issuer_unknown] See who issued it: openssl s_client -connect {host_and_port} -servername {hostname} </dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -dates
TLS expired: connection
! TLS: certificate has expired
  ✗ the TLS certificate of {host} expired {expired}
  • If this machine's clock ({now}) is right, the certificate itself is bad (TLS interception?).
TLS not yet valid: connection
! TLS: certificate is not yet valid
  ✗ the TLS certificate of {host} is not yet valid: it begins {not_before}
  • If this machine's clock ({now}) is right, the certificate itself is bad (TLS interception?).
TLS wrong host: connection
! TLS: Hostname mismatch
  ✗ the TLS certificate presented is not for {hostname}
  Another server answered: a captive portal, a proxy, or a wrong DNS entry.
  • [remote] A captive portal? Open any page in a browser.
TLS not spoken: connection
! TLS: wrong version number
  ✗ {host} does not speak TLS: {message}
  • Is it the right port? Should the URL begin with http://?
TLS closed: network
! TLS: closed by the other side
  ✗ {host} closed the connection during the TLS handshake
  • A firewall may be filtering by host name. Try another network, or without VPN.
TLS failed: connection
! TLS: sslv3 alert handshake failure
  ✗ the TLS handshake with {host} failed: {message}
  This Python speaks TLS with {openssl}.
  • [client_certificate] It demands a TLS client certificate, which claude-ping cannot send.
"""

# What rows may quote of an answer's message.
MENTIONED = {
    "regain": r"regain access on ([^.]+)",
    "max_tokens_limit": r"max_tokens: \d+ > (\d+)",
    "affordable": r"afford (?:up to |only )?(\d+)|only (\d+) (?:more )?tokens",
    "card": r"(\bcard\b|payment method)",
    "cloudflare_error": r"\b52\d:? +([A-Z][\w -]+)",
    "wanted_parameter": r"^([\w.]+): field required|use ['\"`]?([a-z_][\w.]*)['\"`]? instead"
    r"|(?:missing|required)\b.{0,30}?(?:parameter|field|argument)\b:? ['\"`]?([a-z_][\w.]*)"
    r"|['\"`]([a-z_][\w.]*)['\"`]? (?:parameter |field )?is (?:a )?required",
}

# What an answer is about, whatever its status; the first that fits. `mark` is a pattern for error
# type and code, `says` for the message (§ is the model's id that was sent), `unless` for what the
# message must not speak of. Rates come first: a quota per minute is no matter of money.
_ABOUT = r"""
rate says (quota|limit|requests?|tokens?|rate)\b.{0,80}\b(per|a|each|every|/)[ -]?(\d+ ?)?(s|sec|second|minute|min|hour|day)s?\b|\b(req\w*|tokens?)/(s|min)
rate says (quota|limit)\b.{0,60}(retry|try again) (in|after) \d|concurren|\b[RT]P[MD]\b|in \d+ ?s(ec\w*)?\b|\b(per|daily|hourly)[ -](minute|request|token)
rate says \b\d+[ -]?hours?\b.{0,20}limit|limit.{0,30}\b\d+[ -]?hours?\b|(每|/)(秒|分钟|小时)|请求过于频繁|速率限制
rate unless budget|spend|balance|credit|billing|余额
model mark 1311|(unknown|invalid|unsupported|no_such|missing)_?model.*|deployment_?not_?found|.*no_available_(channel|provider).*
model mark (?!.*(param|feature|capab)).*model.*(not_?(found|supp|avail|allow|exist|enabl)|denied|invalid|unavail|unknown|unsupp|disabled|retired).*
model says §.{0,120}?(ABSENT)|(ABSENT).{0,80}§|(\bmodels?\b(?! field| param)|模型)[^.:;]{0,60}?(ABSENT)
model says (unknown|invalid|unsupported|no such|non-?existent)[ -]models?\b|not a valid model|not found the model|^model:[ ]|model requires a subscription
model says (not (allowed|authorized|permitted) to (access|use)|n[o']t have access to)( th\w+)? model|no (route|provider|endpoint|deployment|channel|backend)s?\b.{0,40}\bmodels?\b
model says no available \w* ?accounts? support|not (yet )?include access to
model unless param|temperature|top_[pk]|thinking|prefill|effort|\btools?\b|max_tokens|image|vision|stream|system prompt|工具|图片|PDF|document|cache_control
model unless function|context (length|window)|beta|header|schema|feature|budget|balance|credit|service_tier|field required|input should|per minute|too many
model unless overloaded|temporar|try again|retry|capacity|high demand|loading|rate.?limit|cool(ing)?.?down|unauthorized|account (has been|is) disabled
model unless (api|access) key (is )?(invalid|not)
money mark 1113|1309|billing.*|payment_required|.*insufficient_?(user_)?(quota|balance|credits?|funds).*|.*(credit|balance)s?_.*|customer_verification_required
money mark exceeded_current_quota.*|.*(budget_?exceeded|spend_limit|quota_(exceeded|failed)|arrear).*|organization_on_hold
money says credit balance|(insufficient|not enough|no|zero|out of|more|add|buy|purchase|remaining) (account )?(balance|quota|credits?|funds?|money|points)\b
money says \b(balance|credits?|funds|quota|budget|free tier)\b.{0,60}(insufficient|too low|not enough|exceed|exhaust|used up|depleted|empty|negative|reached)
money says insufficient.{0,20}(balance|quota|credit|fund)|(exceed|exhaust|over|reach|hit|us)\w*.{0,40}\b(quota|budget)\b|exceed\w*.{0,40}credits
money says recharge|top[ -]?up\b|topped up|payment (method|required)|(credit|payment|valid) card|can only afford|arrears|overdue|prepaid|unpaid|extra usage
money says organization (has been|is) (disabled|on hold)|usage (limits|threshold)|spend(ing)?[ -]?(limit|cap)|monthly (spend|limit)|cost limit|key limit exceeded
money says billing to be enabled|余额|额度|充值|欠费|预付|费用|续费
money unless context (length|window)|rate limit|budget_tokens|task_budget|max_tokens|\A\w+(\.\w+)+:\s|(retry|try again) (in|after) \d|concurren|storage
key mark .*(STATE)_((api|virtual|access)_)?(key|token).*|.*(key|token)_(\w+_)?(STATE|not_found).*
key says (?<!cache )(?<!page )(?<!foreign )\b(key|token)\b( \S+)? (is |was |has |been |currently |already )*(STATE)\b|(STATE|incorrect) (api|virtual|access)?[ -]?key\b
key says (key|token)\b.{0,10}\bnot (valid|active)|(令牌|密钥).{0,20}(过期|无效|禁用|不可用)
key unless \A\w+(\.\w+)+:|pagination|page token|cache|JSON|too many
missing says \A(?=.*(api[ -_]?key|token|auth|credential)).*(required|missing|without|not (provided|set|given|present|included)|must (be provided|provide|include))
missing says no (\w+ )?(api[ -_]?key|token|auth\w*|credentials?)\b|(api[ -_]?key|token|credential).*(did|do)( not|n't) provide
missing unless invalid|incorrect|expired|malformed|wrong|not recognized|revoked
"""
_ABSENT = (
    r"n[o']t( \w+){0,2} (found|exists?|valid|available|supported|access|permission|allowed|enabled|permitted|authorized|accessible|offered|recognized)"
    r"|unavailable|unsupported|disabled|retired|deprecated|(no|denied) access|access denied|(unknown|invalid) model|is (unknown|invalid)\b"
    r"|no (available |healthy |active )?(route|provider|endpoint|deployment|channel|backend|account|server)s?\b"
    r"|无可用|不存在|不支持|无权|未找到|不可用|没有可用|未开通"
)
_STATE = "expired|blocked|revoked|disabled|deactivated|deleted|invalid"


class Specimen(NamedTuple):
    """What a row's failure looks like: an answer, or else what happens in a phase."""

    phase: str | None
    by: str
    status: int  # 0 where there is no answer
    type: str | None  # of the error; "html" for a page
    code: str | None
    message: str


class Row(NamedTuple):
    """One way to fail."""

    name: str
    aliases: list[str]
    exit_code: ExitCode
    signs: tuple[str, str, str, str]  # patterns for an answer's status, speaker, subject and words
    proves_key: bool  # whether only an authenticated call gets this from the API
    specimen: Specimen
    headline: str
    known: list[str]
    hints: list[str]


_HEAD = (
    r"(?P<names>[^:]+): (?P<exit>\w+)(?: (?P<status>[^ =]+))?(?: by=(?P<by>\S+))?"
    r"(?: about=(?P<about>\w+))?(?: key=(?P<key>accepted))?(?: says=(?P<says>.+))?"
)
_SPECIMEN = r"(?:! (\w+)|< (?:(edge|gateway|way) )?(\d+)(?: (\w+))?(?:/(\w+))?): (.*)"


def row(first: str, second: str, *lines: str) -> Row:
    """Return the row that a paragraph of the table is; ValueError if it is none."""
    head, specimen = re.fullmatch(_HEAD, first), re.fullmatch(_SPECIMEN, second)
    if not (head and specimen):
        raise ValueError(f"no row: {first}, {second}")
    name, *aliases = head["names"].split(", ")
    answered = (head["status"] or "").replace("x", r"\d").replace("any", r"\d+")
    words = f"(?is).*({head['says'] or ''}).*"
    phase, by, status, kind, code, message = specimen.groups()
    said = [line.strip() for line in lines]
    return Row(
        name,
        aliases,
        ExitCode[head["exit"].upper()],
        (answered, head["by"] or ".*", head["about"] or ".*", words),
        head["key"] is not None,
        Specimen(phase, by or "api", int(status or 0), kind, code, message),
        next((line[2:] for line in said if line[0] == "✗"), ""),
        [line for line in said if line[0] not in "✗•"],
        [line[2:] for line in said if line[0] == "•"],
    )


def _rows() -> Iterator[Row]:
    common: dict[str, list[str]] = {"== first": [], "== last": []}
    for head, body in re.findall(r"(?m)^((?:== )?\w.*)\n((?:[<! ].*\n)*)", _TEXT):
        if head in common:
            common[head] = body.splitlines()
        else:
            specimen, *lines = body.splitlines()
            yield row(head, specimen, *common["== first"], *lines, *common["== last"])


def _subjects() -> dict[str, list[str]]:
    """Return, by what an answer may be about, patterns for its marks, its words, its denial."""
    subjects: dict[str, list[str]] = {}
    for line in _ABOUT.replace("ABSENT", _ABSENT).replace("STATE", _STATE).strip().split("\n"):
        name, kind, pattern = line.split(" ", 2)
        patterns = subjects.setdefault(name, ["(?i)(?!)"] * 3)
        patterns[("mark", "says", "unless").index(kind)] += f"|{pattern}"
    return subjects


SUBJECTS = _subjects()
TABLE = tuple(_rows())
BY_NAME = {name: row for row in TABLE for name in (row.name, *row.aliases)}
