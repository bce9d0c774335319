"""The load history in a JetStream stream of its own, which forgets after fourteen days.

Deployments are spread over subjects by the first character of their id, so that a reader gets a thirtieth of all, and
a span is at most some thirty messages however many deployments are busy.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from itertools import groupby

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from events.base import DeploymentId
from events.log.jetstream_link import client_options
from events.log.nats_wire import Login
from events.signals.jetstream_reading import not_cancelled, to_the_end
from events.signals.load_history import KEPT_S, SPAN_S, LoadRecord, LoadSpan, LoadsUnavailable, Moment, moments_of

STREAM = "CAUSEWAY_LOADS"
MOST_RECORDS = 5000
"""In one message."""
_SETTINGS = StreamConfig(
    name=STREAM,
    description="How busy deployments were: means of ten seconds, for causeway whatif.",
    subjects=["loads.>"],
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_age=KEPT_S,
    duplicate_window=120.0,
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LoadSpan)


class JetStreamLoads:
    """Made by `open_loads`. The stream is made when something is to be kept."""

    def __init__(self, client: Client) -> None:
        self._jetstream: JetStreamContext = client.jetstream()
        self._there = False

    async def keep(self, span: LoadSpan) -> None:
        try:
            if not self._there:
                await self._jetstream.add_stream(_SETTINGS)
                self._there = True
            for name, (subject, records) in _spread(span.records):
                headers = {"Nats-Msg-Id": f"{span.ended_at:.0f}-{name}"}
                payload = _encoder.encode(LoadSpan(span.ended_at, records))
                await self._jetstream.publish(subject, payload, headers=headers)
                not_cancelled()
        except (Error, TimeoutError, OSError) as error:
            self._there = False
            raise LoadsUnavailable(str(error) or type(error).__name__) from error

    async def read(self, deployment_id: DeploymentId, since: float, until: float) -> list[Moment]:
        try:
            spans = [span async for span in self._spans(_subject(deployment_id), since, until)]
        except NotFoundError:
            return []
        except (Error, TimeoutError, OSError) as error:
            raise LoadsUnavailable(str(error) or type(error).__name__) from error
        return moments_of(sorted(spans, key=lambda span: span.ended_at), deployment_id, since, until)

    async def _spans(self, subject: str, since: float, until: float) -> AsyncIterator[LoadSpan]:
        # A batch is kept a moment after its span has ended, by another clock perhaps.
        start = datetime.fromtimestamp(max(0.0, since - SPAN_S), UTC).isoformat().replace("+00:00", "Z")
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start)  # type: ignore[arg-type]
        async with aclosing(to_the_end(self._jetstream, STREAM, subject, config)) as messages:  # type: ignore[type-var]
            async for message in messages:
                span = _decoder.decode(message.data)
                if span.ended_at > until + SPAN_S:
                    return
                yield span


def _subject(deployment_id: DeploymentId) -> str:
    return f"loads.{deployment_id[:1]}"


def _spread(records: Iterable[LoadRecord]) -> Iterable[tuple[str, tuple[str, tuple[LoadRecord, ...]]]]:
    """(name of the message, (subject, its records))."""
    ordered = sorted(records, key=lambda record: record.deployment_id)
    for subject, group in groupby(ordered, key=lambda record: _subject(record.deployment_id)):
        own = tuple(group)
        for first in range(0, len(own), MOST_RECORDS):
            yield f"{subject}-{first}", (subject, own[first : first + MOST_RECORDS])


@asynccontextmanager
async def open_loads(
    url: str, *, user: str | None = None, password: str | None = None, token: str | None = None
) -> AsyncIterator[JetStreamLoads]:
    """Raises LoadsUnavailable."""
    client, login = Client(), Login(url=url, user=user, password=password, token=token, tls=None)
    try:
        async with asyncio.timeout(5.0):
            await client.connect(**client_options(login, "causeway loads"))
    except (Error, OSError, TimeoutError) as error:
        raise LoadsUnavailable(str(error) or type(error).__name__) from error
    try:
        yield JetStreamLoads(client)
    finally:
        await client.close()
