"""API keys and secrets: that they exist, never what they are."""

from events.base import Event, KeyId, ModelId


class KeyIssued(Event, frozen=True, kw_only=True):
    key_id: KeyId
    """The part of the key before the dot."""
    name: str
    hash: str
    """sha256 hex of the whole key (which holds 160 random bits)."""
    scopes: tuple[str, ...]
    """`manage`, `invoke`, `metrics`."""
    models: tuple[ModelId, ...]
    """That it may call; none: all."""
    environments: tuple[str, ...]
    """Of these models, that it may call; none: all, and single deployments too."""


class KeyRevoked(Event, frozen=True, kw_only=True):
    key_id: KeyId


class SecretStored(Event, frozen=True, kw_only=True):
    name: str
    version: str
    """Random; says that the value changed, nothing of the value."""


class SecretRemoved(Event, frozen=True, kw_only=True):
    name: str
