"""Commands about who may come in and what models may know: API keys and secrets."""

import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ops import render
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, session_of
from ops.cli.session import Session
from ops.replay import state_at
from projections.access import ACCESS

TYPE_OF = {
    "all": "PERSONAL",
    "manage": "WORKSPACE_MANAGE_ALL",
    "invoke": "WORKSPACE_INVOKE",
    "metrics": "WORKSPACE_EXPORT_METRICS",
}
"""What a key may do -> the type that the API calls it by."""

key = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
secret = typer.Typer(no_args_is_help=True, help="Secrets that models may use. Values are never printed or logged.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the secret.")]


def register(app: typer.Typer) -> None:
    key.command("create")(key_create)
    key.command("list")(key_list)
    key.command("revoke")(key_revoke)
    secret.command("set")(secret_set)
    secret.command("list")(secret_list)
    secret.command("rm")(secret_rm)
    app.add_typer(key, name="key")
    app.add_typer(secret, name="secret")


def key_create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you will know the key by.")],
    may: Annotated[str, typer.Option("--may", help=f"What it may do: {', '.join(TYPE_OF)}.")] = "all",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Id of a model that it may call, and no other. May be repeated.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", help="An environment that it may call. May be repeated.")
    ] = None,
    output: Output = Format.table,
) -> None:
    """Create an API key and print it, this once."""
    session = session_of(context)
    if may not in TYPE_OF:
        raise Failure(f"--may {may}: there is no such right", f"one of {', '.join(TYPE_OF)}", USAGE)
    asked: dict[str, Any] = {"name": name, "type": TYPE_OF[may]}
    asked |= {field: given for field, given in (("model_ids", model), ("environments", environment)) if given}
    answer: dict[str, Any] = session.call("POST", "/v1/api_keys", asked)
    if output is Format.json:
        render.as_json(session.out, {"name": name, "api_key": answer["api_key"]})
    else:
        session.out.print(answer["api_key"], soft_wrap=True)
        session.err.print("this key is shown only now", style="dim")


def key_list(context: typer.Context, output: Output = Format.table) -> None:
    """The keys that are valid now: prefix, name, scopes, and the models and environments that they are for."""
    session = session_of(context)
    keys = tuple(session.with_log(lambda log: state_at(log, ACCESS)).keys.values())
    if output is Format.json:
        rows = [
            {
                "prefix": each.key_id,
                "name": each.name,
                "scopes": each.scopes,
                "issued_at": each.issued_at,
                "model_ids": each.models,
                "environments": each.environments,
            }
            for each in keys
        ]
        render.as_json(session.out, rows)
        return
    render.table(
        session.out,
        ("prefix", "name", "scopes", "for", "issued (UTC)"),
        (
            (
                each.key_id,
                each.name,
                " ".join(each.scopes),
                " ".join((*each.models, *each.environments)) or "all",
                render.iso_clock(each.issued_at),
            )
            for each in keys
        ),
        "no keys",
    )


def key_revoke(
    context: typer.Context, prefix: Annotated[str, typer.Argument(help="The part of the key before the dot.")]
) -> None:
    """Revoke a key, at once and for ever."""
    session = session_of(context)
    session.call("DELETE", f"/v1/api_keys/{quote(prefix.partition('.')[0], safe='')}")
    session.out.print(f"key {prefix.partition('.')[0]} is revoked")


def secret_set(context: typer.Context, name: Name) -> None:
    """Store a secret. Its value is read from standard input, or asked for on a terminal."""
    session = session_of(context)
    session.call("POST", "/v1/secrets", {"name": name, "value": _value(session, name)})
    session.out.print(f"secret {name} is stored")


def _value(session: Session, name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
    value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise Failure(f"no value for {name} on standard input", f"printf %s VALUE | causeway secret set {name}", USAGE)
    return value


def secret_list(context: typer.Context, output: Output = Format.table) -> None:
    """Names of the secrets, never their values."""
    session = session_of(context)
    secrets = tuple(session.with_log(lambda log: state_at(log, ACCESS)).secrets.values())
    if output is Format.json:
        render.as_json(session.out, [{"name": each.name, "stored_at": each.stored_at} for each in secrets])
        return
    rows = ((each.name, render.iso_clock(each.stored_at)) for each in secrets)
    render.table(session.out, ("name", "stored (UTC)"), rows, "no secrets")


def secret_rm(context: typer.Context, name: Name) -> None:
    """Remove a secret. Models that run keep the value they were started with."""
    session = session_of(context)
    session.call("DELETE", f"/v1/secrets/{quote(name, safe='')}")
    session.out.print(f"secret {name} is removed")
