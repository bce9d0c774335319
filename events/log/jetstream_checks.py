"""What the server and the stream must be like before anything is appended. All of it is checked at every start.

The log's promises hold only under these settings, so a difference is an error that names the setting and the fix,
never something to put right in silence.
"""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

from events.base import ORIGIN, Position
from events.log import LogBroken, LogUnavailable

STREAM = "CAUSEWAY"
OLDEST_SERVER = (2, 12)
"""The first with atomic batches."""
STREAM_NOT_FOUND = 10059
_OPTIONAL_OFF: Mapping[str, Any] = {
    "allow_msg_ttl": False,
    "allow_rollup_hdrs": False,
    "allow_msg_counter": False,
    "allow_msg_schedules": False,
    "no_ack": False,
    "sealed": False,
    "persist_mode": "default",
    "mirror": None,
    "sources": None,
    "subject_transform": None,
}


def stream_config(replicas: int) -> dict[str, Any]:
    """The stream as it is made on the first start, and as it must be ever after."""
    return {
        "name": STREAM,
        "subjects": ["evt.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "num_replicas": replicas,
        "deny_delete": True,
        "deny_purge": True,
        "allow_atomic": True,
        "duplicate_window": 120_000_000_000,
    }


def check_version(version: tuple[int, int]) -> None:
    if version < OLDEST_SERVER:
        found = ".".join(str(number) for number in version)
        raise LogBroken(f"nats-server is {found}; the log needs 2.12 or newer, for atomic batches. Upgrade the server")


def check_config(config: Mapping[str, Any], replicas: int) -> None:
    wrong = [
        f"{name} is {config.get(name)!r}, must be {wanted!r}"
        for name, wanted in stream_config(replicas).items()
        if config.get(name) != wanted
    ] + [
        f"{name} is {config[name]!r}, must be {off!r}"
        for name, off in _OPTIONAL_OFF.items()
        if config.get(name) not in (None, off)
    ]
    if wrong:
        raise LogBroken(f"the stream {STREAM} has other settings than ours: {'; '.join(wrong)}")


def check_state(answer: Mapping[str, Any], at_least: Position) -> Position:
    """The head that a STREAM.INFO answer states. Raises LogBroken if events up to it, or up to `at_least`, lack."""
    error = answer.get("error")
    if error is not None and error["err_code"] == STREAM_NOT_FOUND:
        raise LogBroken(f"the stream {STREAM} is missing. Restore it; it is never made again by itself")
    if error is not None:
        raise LogUnavailable(f"the stream cannot be asked: {error['description']}")
    state = answer["state"]
    if state["last_seq"] < at_least:
        raise LogBroken(f"the stream {STREAM} ends at {state['last_seq']}, but {at_least} was there before")
    if state["messages"] != state["last_seq"]:
        raise LogBroken(f"the stream {STREAM} holds {state['messages']} events up to position {state['last_seq']}")
    return Position(state["last_seq"])


def may_create(answer: Mapping[str, Any], create: bool, at_least: Position) -> bool:
    """Only on a first start, of a log of which nothing is known yet."""
    error = answer.get("error")
    return error is not None and error["err_code"] == STREAM_NOT_FOUND and create and at_least == ORIGIN


async def check_sync(monitor_urls: str) -> None:
    """Asks each monitoring address (several: with commas). JetStream's default acknowledges before it syncs to disk."""
    for url in monitor_urls.split(","):
        address = url.strip().rstrip("/") + "/varz"
        try:
            varz = json.loads(await asyncio.to_thread(_get, address))
        except (URLError, OSError, ValueError) as error:
            raise LogUnavailable(f"the monitoring address {address} does not answer: {error}") from error
        if not varz.get("jetstream", {}).get("config", {}).get("sync_always", False):
            raise LogBroken(
                f"nats-server at {address} acknowledges before it syncs to disk."
                " Set `jetstream { sync_interval: always }` in its configuration"
            )


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=5) as answer:
        body: bytes = answer.read()
    return body
