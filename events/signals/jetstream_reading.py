"""Reading a stream beside the log up to its present end, in a way that a cancellation cannot get lost in."""

import asyncio
from collections.abc import AsyncIterator

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

ANSWER_S = 5.0


def not_cancelled() -> None:
    """A cancellation that comes together with an answer is lost in wait_for before Python 3.12: it is raised here."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError


async def to_the_end(
    jetstream: JetStreamContext, stream: str, subject: str, config: ConsumerConfig | None = None
) -> AsyncIterator[Msg]:
    """Raises NotFoundError when there is no such stream, and what nats-py raises for one that does not answer."""
    await jetstream.stream_info(stream)
    reading = await jetstream.subscribe(subject, stream=stream, ordered_consumer=True, config=config)
    try:
        known = await reading.consumer_info()
        left = (known.num_pending or 0) + (known.delivered.consumer_seq if known.delivered is not None else 0)
        while left > 0:
            message = await reading.next_msg(timeout=ANSWER_S)
            not_cancelled()
            left = message.metadata.num_pending
            yield message
    finally:
        await reading.unsubscribe()
