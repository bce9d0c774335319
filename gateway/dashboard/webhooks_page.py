"""Webhooks: where events are sent, how far each is, what it waits for; its last deliveries and dead letters. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from events.base import WebhookId
from events.signals.deliveries import Attempt, Place
from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import Moment
from gateway.dashboard.sources import Found
from gateway.dashboard.words import badge, dim, fields, notice, position_link, seconds, section, table, timeline, when
from projections.webhooks import DeadLetter, Webhook

EVENTS = 20
NONE_YET = ("No webhooks: ", tag("code", "causeway webhook add URL"), " sends events to an address of yours.")


class Shown(msgspec.Struct, frozen=True):
    """One webhook as of a moment. What of it is not history (place, attempts) is known of the present only."""

    webhook: Webhook
    place: Place | None
    attempts: Sequence[Attempt] | None
    """The newest first; None: nobody can say."""
    events: Found


def webhook_path(webhook_id: str) -> str:
    return f"/webhooks/{quote(webhook_id, safe='')}"


def webhooks(
    known: Mapping[WebhookId, Webhook], places: Mapping[WebhookId, Place], note: str, moment: Moment
) -> Markup:
    rows = [
        (
            tag("a", each.url, href=moment.link(webhook_path(each.webhook_id)), class_="open"),
            badge(_state(each, places.get(each.webhook_id), moment)),
            _wanted(each),
            *_standing(places.get(each.webhook_id), moment),
            str(len(each.dead)),
            dim(_waits(places.get(each.webhook_id))),
        )
        for each in sorted(known.values(), key=lambda each: each.url)
    ]
    columns = ("webhook", "status", "for", "looked through", "open", "dead letters", "why")
    return join([tag("h1", "Webhooks"), notice(note) if note else None, table(columns, rows, NONE_YET)])


def webhook(shown: Shown, note: str, moment: Moment) -> Markup:
    hook = shown.webhook
    read_to, still_open = _standing(shown.place, moment)
    waits = _waits(shown.place)
    return join([
        tag("div", tag("h1", hook.url), badge(_state(hook, shown.place, moment)), class_="name"),
        tag("p", waits, class_="reason") if waits else None,
        notice(note) if note else None,
        fields({
            "id": tag("span", hook.webhook_id, class_="id"),
            "for": _wanted(hook),
            "description": hook.description or "none",
            "begins after": position_link(moment, hook.after) or "the beginning",
            "added (UTC)": (when(datetime.fromisoformat(hook.registered_at), moment), f" by {hook.registered_by}"),
            "looked through": read_to,
            "open events": still_open,
        }),
        section("Dead letters", _letters(hook, moment), id_="dead"),
        section("Last deliveries", _deliveries(shown.attempts, moment)),
        section("Events", timeline(shown.events.rows[::-1][:EVENTS], moment)),
    ])  # fmt: skip


def _state(hook: Webhook, place: Place | None, moment: Moment) -> str:
    if place is not None and place.waits:
        return "waits"
    if any(not letter.waiting for letter in hook.dead.values()):
        return "has dead letters"
    if place is None:
        return "as it was" if moment.fixed else "not begun"
    return "delivers" if place.open or place.read_to < moment.head else "up to date"


def _wanted(hook: Webhook) -> Markup:
    wanted = [tag("span", each, class_="chip") for each in (*hook.types, *hook.entities)]
    return join(wanted) if wanted else tag("span", "all events", class_="dim")


def _standing(place: Place | None, moment: Moment) -> tuple[Child, Child]:
    if place is None:
        return None, None
    behind = moment.head - place.read_to
    return (position_link(moment, place.read_to), f" {behind} behind" if behind > 0 else ""), str(len(place.open))


def _waits(place: Place | None) -> str:
    return "" if place is None else place.waits or ""


def _letters(hook: Webhook, moment: Moment) -> Markup:
    letters: list[DeadLetter] = sorted(hook.dead.values(), key=lambda each: each.position)
    rows = [
        (
            position_link(moment, each.position),
            when(datetime.fromisoformat(each.given_up_at), moment),
            str(each.attempts),
            "asked for again" if each.waiting else "",
            dim(each.reason),
        )
        for each in letters
    ]
    hint = tag("p", "Send them again with ", tag("code", f"causeway webhook redeliver {hook.webhook_id} --all"),
               class_="dim")  # fmt: skip
    found = table(("event", "given up (UTC)", "attempts", "since", "why"), rows, "None: no event was given up.")
    return join([found, hint]) if rows else found


def _deliveries(attempts: Sequence[Attempt] | None, moment: Moment) -> Markup:
    if attempts is None:
        said = "Deliveries of a past moment are not kept." if moment.fixed else "The delivery log does not answer."
        return tag("p", said, class_="empty")
    rows = [
        (
            when(datetime.fromtimestamp(each.at, UTC), moment),
            badge(each.result),
            (position_link(moment, each.position), f" {each.type}"),
            str(each.number),
            "none" if each.status is None else str(each.status),
            seconds(each.seconds),
            dim(each.reason),
        )
        for each in attempts
    ]
    columns = ("time (UTC)", "came to", "event", "attempt", "answer", "took", "why")
    return table(columns, rows, "Nothing has been sent yet.")
