"""Rules of API keys and of the names of secrets."""

import re
from collections.abc import Sequence

import msgspec

from events.access import KeyIssued, KeyRevoked, SecretRemoved, SecretStored
from events.base import Event, KeyId, ModelId
from handlers.base import Command, Context, Decider, Refused, told

SCOPES = ("manage", "invoke", "metrics")


class IssueKey(Command, frozen=True, kw_only=True):
    key_id: KeyId
    name: str
    hash: str
    scopes: tuple[str, ...]
    models: tuple[ModelId, ...] = ()
    environments: tuple[str, ...] = ()


class RevokeKey(Command, frozen=True, kw_only=True):
    key_id: KeyId


KeyCommand = IssueKey | RevokeKey


class KeyState(msgspec.Struct, frozen=True, tag=True):
    issued: bool = False
    revoked: bool = False


def evolve_key(state: KeyState, event: Event) -> KeyState:
    match event:
        case KeyIssued():
            return KeyState(issued=True)
        case KeyRevoked():
            return KeyState(issued=True, revoked=True)
        case _:
            return state


def decide_key(command: KeyCommand, state: KeyState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, IssueKey):
        unknown = sorted(set(command.scopes) - set(SCOPES))
        if unknown or not command.scopes:
            raise Refused("invalid", f"scopes must be some of {', '.join(SCOPES)}, not {unknown}", "scopes")
        if "manage" in command.scopes and (command.models or command.environments):
            field = "model_ids" if command.models else "environments"
            raise Refused("invalid", f"a key that manages reaches everything: leave {field} out", field)
        if state.issued:
            raise Refused("conflict", f"there is a key {command.key_id} already", "key_id")
        return (told(KeyIssued, command),)
    if not state.issued:
        raise Refused("not_found", f"there is no API key with the prefix {command.key_id}", "api_key_prefix")
    return () if state.revoked else (told(KeyRevoked, command),)


KEY: Decider[KeyCommand, KeyState] = Decider(
    category="key",
    commands=(IssueKey, RevokeKey),
    initial=KeyState(),
    aggregate_id=lambda command: command.key_id,
    decide=decide_key,
    evolve=evolve_key,
)


class StoreSecret(Command, frozen=True, kw_only=True):
    """The value has been stored under this version; this makes it known."""

    name: str
    version: str


class RemoveSecret(Command, frozen=True, kw_only=True):
    name: str


SecretCommand = StoreSecret | RemoveSecret
SECRET_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class SecretState(msgspec.Struct, frozen=True, tag=True):
    version: str | None = None


def evolve_secret(state: SecretState, event: Event) -> SecretState:
    match event:
        case SecretStored():
            return SecretState(event.version)
        case SecretRemoved():
            return SecretState()
        case _:
            return state


def decide_secret(command: SecretCommand, state: SecretState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, StoreSecret):
        if not SECRET_NAME.fullmatch(command.name):
            reason = f"{command.name!r}: a secret's name has 1 to 128 letters, digits, _ and -"
            raise Refused("invalid", reason, "name")
        return () if state.version == command.version else (told(SecretStored, command),)
    if state.version is None:
        raise Refused("not_found", f"there is no secret {command.name!r}", "name")
    return (told(SecretRemoved, command),)


SECRET: Decider[SecretCommand, SecretState] = Decider(
    category="secret",
    commands=(StoreSecret, RemoveSecret),
    initial=SecretState(),
    aggregate_id=lambda command: command.name,
    decide=decide_secret,
    evolve=evolve_secret,
)
