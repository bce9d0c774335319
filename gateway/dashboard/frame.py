"""What is around every page: its head, the ways to the others, the time slider. Pure."""

from gateway.dashboard.markup import Markup, tag
from gateway.dashboard.pages import Moment

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


def page(title: str, content: Markup, moment: Moment, path: str, kept: dict[str, str]) -> str:
    """`path` and `kept`: where the slider leads, with what else is in the query."""
    links = [tag("a", text, href=moment.link(to)) for text, to in (("Plane", ""), ("Events", "/events"))]
    out = tag("form", tag("button", "Sign out"), method="post", action="/dashboard/logout")
    header = tag("header", tag("h1", tag("a", "Causeway", href="/dashboard")), tag("nav", links), out)
    body = tag(
        "body", header, slider(moment, path, kept), tag("main", content, id="content"),
        data_live=None if moment.fixed else "yes",
    )  # fmt: skip
    return _document(title, body)


def slider(moment: Moment, path: str, kept: dict[str, str]) -> Markup:
    hidden = [tag("input", type="hidden", name=name, value=value) for name, value in kept.items()]
    said = "as it was at position" if moment.fixed else "as it is now, at position"
    ends = [
        tag("label", said, tag("input", type="number", name="at", min=0, max=moment.head, value=moment.position)),
        tag(
            "input", type="range", min=0, max=moment.head, value=moment.position, id="slider",
            aria_label="position in the log",
        ),
        tag("button", "Go"),
        tag("a", "now", href=f"/dashboard{path}") if moment.fixed else None,
    ]  # fmt: skip
    return tag("form", hidden, ends, method="get", action=f"/dashboard{path}", class_="time")


def login(refused: str | None, to: str) -> str:
    field = tag("input", type="password", name="key", autocomplete="current-password", required=True, autofocus=True)
    asked = tag("label", "API key", field)
    form = tag(
        "form", tag("input", type="hidden", name="to", value=to), asked, tag("button", "Sign in"),
        method="post", action="/dashboard/login", class_="login",
    )  # fmt: skip
    problem = tag("p", refused, class_="refused", role="alert") if refused else None
    return _document("Sign in", tag("body", tag("main", tag("h1", "Causeway"), problem, form)))


def problem(title: str, message: str, moment: Moment) -> str:
    return page(title, tag("p", message, class_="refused", role="alert"), moment, "", {})


def _document(title: str, body: Markup) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · Causeway"),
        tag("link", rel="stylesheet", href="/dashboard/style.css"),
        tag("script", src="/dashboard/script.js", defer=True),
    )
    return "<!doctype html>" + tag("html", head, body, lang="en")
