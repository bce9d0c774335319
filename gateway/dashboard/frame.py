"""What is around every page: its head, the ways to the others, the time slider, the keys. Pure."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlencode

from events.base import Position
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment
from gateway.dashboard.sources import Refusal
from gateway.dashboard.words import notice

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
PLACES = (
    ("Plane", "", "p"),
    ("Environments", "/environments", "e"),
    ("Weights", "/weights", "w"),
    ("Webhooks", "/webhooks", "b"),
    ("Events", "/events", "t"),
    ("Audit", "/audit", "a"),
)
KEYS = (
    ("?", "these keys"),
    ("g then p, e, w, b, t, a", "go to the plane, environments, weights, webhooks, the timeline of events, audit"),
    ("/", "into the first filter"),
    ("j and k", "down and up in a table or a graph"),
    ("Enter", "open what is chosen"),
    ("[ and ]", "one event back, one forward in the history"),
    ("n", "back to the present"),
    ("h and l", "the event before and the next; older events"),
    ("Esc", "leave a field, close this"),
)

LOST = "The plane does not answer: what stands here may be old. It is asked again and again."


def page(
    title: str, content: Markup, moment: Moment, path: str, kept: Mapping[str, str], *, sign_out: bool, live: bool
) -> str:
    """`path` and `kept`: where the slider leads, with what else is in the query. `live`: it follows the present."""
    links = [
        tag("a", text, href=moment.link(to), data_key=key, aria_current="page" if _is_in(path, to) else None)
        for text, to, key in PLACES
    ]
    keys = tag("button", "?", popovertarget="keys", aria_label="keys", title="keys", class_="plain", type="button")
    out = (
        tag("form", tag("button", "Sign out", class_="plain"), method="post", action=f"{ROOT}/logout")
        if sign_out
        else None
    )
    brand = tag("a", "Causeway", href=moment.link(""), class_="brand")
    header = tag("header", brand, tag("nav", links, aria_label="pages"), keys, out)
    skip = tag("a", "To the content", href="#content", class_="skip")
    main = tag("main", _stale(moment), content, id="content", tabindex=-1)
    moves = not moment.fixed and not moment.source
    follows = moment.position if live and moves else None
    lost = tag("p", LOST, class_="notice bad", id="lost", role="alert", hidden=True) if moves else None
    body = tag("body", skip, header, slider(moment, path, kept), lost, main, _keys(), data_live=follows)
    return _document(title, body)


def problem(refused: Refusal, moment: Moment) -> Markup:
    """Why a page cannot be shown; where something is not there, the way to what became of it."""
    events = tag("a", "All that happened to it", href=f"{ROOT}/events?{urlencode({'entity': refused.entity})}")
    told = tag("p", events) if refused.entity else None
    return join((tag("h1", "Not shown"), notice(str(refused), "bad"), told))


def _is_in(path: str, to: str) -> bool:
    return path.startswith(to) if to else not path or path.startswith("/deployments")


def _stale(moment: Moment) -> Markup | None:
    if moment.stale_for_s is None:
        return None
    since = moment.now - timedelta(seconds=moment.stale_for_s)
    return notice(f"The log has been out of reach since {since:%H:%M:%S} UTC: this is what was last known.", "bad")


def slider(moment: Moment, path: str, kept: Mapping[str, str]) -> Markup:
    hidden = [tag("input", type="hidden", name=name, value=value) for name, value in kept.items()]
    least, most, at = moment.beginning, moment.head, moment.position
    hint = f"a position from {least} to {most}, or a time (UTC): 2026-11-21 19:30"
    number = tag(
        "input", name="at", value=at, id="at", required=True, title=hint, autocomplete="off", spellcheck="false"
    )
    back = _step("‹", Position(at - 1), "prev", "one event back", moment, path, kept)
    forth = _step("›", Position(at + 1), "next", "one event forward", moment, path, kept)
    untold = "before the first event" if at <= least else "at a time that the log does not tell now"
    when = f"{moment.at:%Y-%m-%d %H:%M:%S} UTC" if moment.at is not None else untold
    present = f"end of {moment.source}" if moment.source else "now"
    if moment.fixed:
        said = tag("span", tag("b", "as it was"), f" {when}", class_="when past")
        now = tag("a", present, href=f"{ROOT}{path}{_query(kept, '?')}", class_="button", id="now")
    else:
        stale = moment.stale_for_s is not None
        known = tag("b", "last known" if stale else present)
        said, now = tag("span", known, f" last event {when}", class_="when past" if stale else "when"), None
    span = tag("input", type="range", min=least, max=most, value=at, id="slider", aria_label="position in the history")
    place = tag("label", tag("span", "position or time", class_="unseen"), number)
    form = (hidden, said, back, span, forth, place, tag("button", "Go"), now)
    return tag("form", form, method="get", action=f"{ROOT}{path}", class_=f"time{' fixed' if moment.fixed else ''}",
               aria_label="moment shown")  # fmt: skip


def _step(
    sign: str, position: Position, rel: str, label: str, moment: Moment, path: str, kept: Mapping[str, str]
) -> Markup:
    if not moment.beginning <= position <= moment.head:
        return tag("span", sign, class_="button off", aria_hidden="true")
    to = moment.then(path, position) + _query(kept)
    return tag("a", sign, href=to, class_="button", rel=rel, aria_label=label)


def _query(kept: Mapping[str, str], first: str = "&") -> str:
    return f"{first}{urlencode(kept)}" if kept else ""


def _keys() -> Markup:
    rows = [tag("div", tag("dt", keys), tag("dd", does)) for keys, does in KEYS]
    close = tag("button", "Close", popovertarget="keys", popovertargetaction="hide", type="button")
    return tag("div", tag("h2", "Keys"), tag("dl", rows), close, id="keys", popover="auto", aria_label="keys")


def login(refused: str | None, to: str) -> str:
    field = tag("input", type="password", name="key", autocomplete="current-password", required=True, autofocus=True)
    asked = tag("label", "API key with the scope manage", field)
    form = tag(
        "form", tag("input", type="hidden", name="to", value=to), asked, tag("button", "Sign in", class_="primary"),
        method="post", action=f"{ROOT}/login", class_="login",
    )  # fmt: skip
    problem = notice(refused, "bad") if refused else None
    hint = tag("p", "Make one with ", tag("code", "causeway key create NAME --may manage"), class_="dim")
    return _document("Sign in", tag("body", tag("main", tag("h1", "Causeway"), problem, form, hint, class_="door")))


def _document(title: str, body: Markup) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · Causeway"),
        tag("link", rel="icon", href=f"{ROOT}/icon.svg"),
        tag("link", rel="stylesheet", href=f"{ROOT}/style.css"),
        tag("script", src=f"{ROOT}/script.js", defer=True),
    )
    return "<!doctype html>" + tag("html", head, body, lang="en")
