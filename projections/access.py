"""Who may come in: the hashes of issued keys, and the names of stored secrets."""

import msgspec

from events.access import KeyIssued, KeyRevoked, SecretRemoved, SecretStored
from events.base import KeyId, ModelId
from events.codec import Recorded
from projections.base import Projection


class Key(msgspec.Struct, frozen=True):
    key_id: KeyId
    name: str
    hash: str
    scopes: tuple[str, ...]
    issued_at: str
    models: tuple[ModelId, ...] = ()
    """That it may call; none: all."""
    environments: tuple[str, ...] = ()
    """That it may call; none: all, and single deployments too."""


class Secret(msgspec.Struct, frozen=True):
    name: str
    version: str
    stored_at: str


class Access(msgspec.Struct):
    keys: dict[KeyId, Key] = {}
    secrets: dict[str, Secret] = {}


def evolve(access: Access, recorded: Recorded) -> Access:
    at = recorded.meta.at.isoformat()
    match recorded.event:
        case KeyIssued(key_id=key_id) as key:
            access.keys[key_id] = Key(key_id, key.name, key.hash, key.scopes, at, key.models, key.environments)
        case KeyRevoked(key_id=key_id):
            access.keys.pop(key_id, None)
        case SecretStored(name=name, version=version):
            access.secrets[name] = Secret(name, version, at)
        case SecretRemoved(name=name):
            access.secrets.pop(name, None)
    return access


ACCESS: Projection[Access] = Projection("access", 2, Access, Access, evolve)
