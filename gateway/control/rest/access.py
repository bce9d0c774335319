"""API keys and secrets. A key is shown once, when it is made; a secret's value never."""

import asyncio
from secrets import token_hex
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request

from events.base import KeyId, ModelId
from gateway.control import bodies
from gateway.control.errors import invalid, not_found
from gateway.control.identity import visit_of
from gateway.control.plane import TEAM_NAME, Plane
from gateway.keys import hash_of
from gateway.secrets import BadSecret
from handlers.deciders.access import IssueKey, RemoveSecret, RevokeKey, StoreSecret
from projections.access import Key, Secret

KeyType = Literal["PERSONAL", "WORKSPACE_MANAGE_ALL", "WORKSPACE_EXPORT_METRICS", "WORKSPACE_INVOKE"]
SCOPES_OF: dict[KeyType, tuple[str, ...]] = {
    "PERSONAL": ("manage", "invoke", "metrics"),
    "WORKSPACE_MANAGE_ALL": ("manage", "invoke", "metrics"),
    "WORKSPACE_EXPORT_METRICS": ("metrics",),
    "WORKSPACE_INVOKE": ("invoke",),
}


class SecretBody(msgspec.Struct):
    name: str
    value: str


class KeyBody(msgspec.Struct):
    type: KeyType
    name: str | None = None
    model_ids: list[str] | None = None
    environments: list[str] | None = None
    """Ours: the names of the environments that the key may call."""


def new_key() -> tuple[KeyId, str]:
    """Its id, and the whole key: 160 random bits after the dot."""
    key_id = KeyId(token_hex(4))
    return key_id, f"{key_id}.{token_hex(20)}"


def install(router: APIRouter, plane: Plane) -> None:
    _keys(router, plane)
    _secrets(router, plane)


def _keys(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/api_keys")
    async def list_keys() -> Any:
        return {"keys": [_shown_key(each) for each in plane.views.access.state.keys.values()]}

    @router.post("/v1/api_keys")
    async def issue_key(request: Request) -> Any:
        body = await bodies.decode(request, KeyBody)
        unknown = sorted(set(body.model_ids or ()) - set(plane.catalogue.models))
        if unknown:
            raise invalid(f"there is no model {', '.join(unknown)}: `GET /v1/models` lists their ids", "model_ids")
        key_id, key = new_key()
        await visit_of(request).do(
            IssueKey,
            key_id=key_id,
            name=body.name or "",
            hash=hash_of(key),
            scopes=SCOPES_OF[body.type],
            models=tuple(ModelId(each) for each in body.model_ids or ()),
            environments=tuple(body.environments or ()),
        )
        return {"api_key": key}

    @router.delete("/v1/api_keys/{prefix}")
    async def revoke_key(request: Request, prefix: str) -> Any:
        await visit_of(request).do(RevokeKey, key_id=KeyId(prefix))
        return {"prefix": prefix}


def _shown_key(key: Key) -> dict[str, Any]:
    # Two types have all scopes; the one that says so plainly is told.
    kind = next((name for name, scopes in reversed(SCOPES_OF.items()) if scopes == key.scopes), "WORKSPACE_MANAGE_ALL")
    return {
        "prefix": key.key_id,
        "name": key.name or None,
        "type": kind,
        "model_ids": list(key.models) or None,
        "environments": list(key.environments) or None,
        "team_name": TEAM_NAME,
        "scopes": key.scopes,
        "created_at": key.issued_at,
    }


def _secrets(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/secrets")
    async def list_secrets() -> Any:
        return {"secrets": [_shown_secret(each) for each in plane.views.access.state.secrets.values()]}

    @router.post("/v1/secrets")
    async def store_secret(request: Request) -> Any:
        body = await bodies.decode(request, SecretBody)
        try:
            version = await asyncio.to_thread(plane.secrets.store, body.name, body.value)
        except BadSecret as error:
            raise invalid(str(error), error.field) from error
        await visit_of(request).do(StoreSecret, name=body.name, version=version)
        return _shown_secret(plane.views.access.state.secrets[body.name])

    @router.delete("/v1/secrets/{name}")
    async def remove_secret(request: Request, name: str) -> Any:
        if name not in plane.views.access.state.secrets:
            raise not_found(f"there is no secret {name!r}", "secret_name")
        await visit_of(request).do(RemoveSecret, name=name)
        await asyncio.to_thread(plane.secrets.remove, name)
        return {"name": name}


def _shown_secret(secret: Secret) -> dict[str, Any]:
    return {"id": secret.name, "created_at": secret.stored_at, "name": secret.name, "team_name": TEAM_NAME}
