"""truss's GraphQL: documents are parsed, never validated against a schema; each root field has a resolver.

The stock client builds its documents by formatting strings, so a value with a quote breaks the document: the answer
then says which value. It reads errors only from a 200, so every answer is one. Nothing of the client's selection is
trusted to be complete: S3 settings that it did not ask for are what sends its upload to us (EXTRA).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    parse,
    value_from_ast_untyped,
)

from gateway.control.bodies import parse as parse_body
from gateway.control.bodies import read
from gateway.control.errors import ApiError, as_api_error, invalid
from gateway.control.graphql_fields import FIELDS, LATER
from gateway.control.identity import visit_of
from gateway.control.plane import Plane, Visit

_log = structlog.get_logger()
DOCUMENT_MAX_BYTES = 32 << 20
TOKENS_MAX = 5_000
EXTRA = ("endpoint_url", "region_name")
"""Kept in an object whether they were selected or not."""
Resolver = Callable[[Plane, Visit, Mapping[str, Any]], Awaitable[Any]]


class _Query(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None


def install(app: FastAPI, plane: Plane) -> None:
    async def answer(request: Request) -> Response:
        try:
            asked = parse_body(await read(request, DOCUMENT_MAX_BYTES), _Query)
            body: dict[str, Any] = {"data": await execute(plane, visit_of(request), asked)}
        except Exception as error:
            known = as_api_error(error)
            if known.status == 500:
                _log.error("GraphQL request failed", exc_info=error)
            body = {"data": None, "errors": [_error(known)]}
        return Response(msgspec.json.encode(body), media_type="application/json")

    for path in ("/graphql/", "/graphql"):
        app.add_api_route(path, answer, methods=["POST"], include_in_schema=False)


def _error(error: ApiError) -> dict[str, Any]:
    problem = error.problem
    code = "RESOURCE_NOT_FOUND" if error.status == 404 else (problem.code or "internal").upper()
    extensions = {"code": code, "field": problem.field, "fix": problem.fix}
    told = {name: value for name, value in extensions.items() if value is not None}
    return {"message": problem.message, "extensions": told}


async def execute(plane: Plane, visit: Visit, asked: _Query) -> dict[str, Any]:
    operation = _operation(_parsed(asked.query), asked.operationName)
    data: dict[str, Any] = {}
    for field in _fields(operation.selection_set):
        name = field.name.value
        resolve = FIELDS.get(name)
        if resolve is None:
            raise _unknown(name)
        value = await resolve(plane, visit, _arguments(field, asked.variables or {}))
        data[field.alias.value if field.alias else name] = _selected(value, field.selection_set)
    return data


def _arguments(field: FieldNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """A variable that was not sent is an argument that was not given."""
    given = {each.name.value: value_from_ast_untyped(each.value, dict(variables)) for each in field.arguments or ()}
    return {name: value for name, value in given.items() if value is not Undefined}


def _unknown(name: str) -> ApiError:
    if name in LATER:
        return ApiError(501, f"{LATER[name]} is not there yet in this version of Causeway", code="not_implemented")
    return invalid(f"{name!r} is not an operation of this plane; it has {', '.join(sorted(FIELDS))}")


def _parsed(document: str) -> DocumentNode:
    try:
        return parse(document, no_location=True, max_tokens=TOKENS_MAX)
    except GraphQLSyntaxError as error:
        raise _explained(document, error) from error
    except RecursionError as error:
        raise invalid("the GraphQL document is nested too deeply", "query") from error


_VALUE = re.compile(r'^\s*(?:\w+\()?(\w+)\s*:\s*"(.*)$')


def _explained(document: str, error: GraphQLSyntaxError) -> ApiError:
    lines = document.split("\n")
    number = error.locations[0].line if error.locations else 1
    # A value with a line break goes wrong on its first line or on the one after.
    for line in (lines[number - 1], lines[max(number - 2, 0)]):
        match = _VALUE.match(line)
        if match is not None and not re.fullmatch(r'[^"\\]*"[),]?\s*', match[2]):
            name, value = match[1], match[2].rstrip().removesuffix('"')[:100]
            field = "model_name" if name == "name" else name
            fix = f"choose a {field} without quotes, backslashes and line breaks"
            return invalid(f"the value of {field} cannot be sent: {value!r} holds one of these; {fix}", field, fix)
    return invalid(f"the GraphQL document cannot be parsed: {error.message} near {lines[number - 1].strip()[:100]!r}")


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    found = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if name is not None:
        found = [each for each in found if each.name is not None and each.name.value == name]
    if len(found) != 1:
        raise invalid("send one GraphQL operation a request", "query")
    return found[0]


def _fields(selection: SelectionSetNode) -> list[FieldNode]:
    if any(not isinstance(each, FieldNode) for each in selection.selections):
        raise invalid("fragments are not understood here: name the fields", "query")
    return [each for each in selection.selections if isinstance(each, FieldNode)]


def _selected(value: Any, selection: SelectionSetNode | None) -> Any:
    if selection is None or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_selected(each, selection) for each in value]
    if not isinstance(value, Mapping):
        raise invalid(f"a {type(value).__name__} has no fields to select", "query")
    chosen = {
        field.alias.value if field.alias else field.name.value: _selected(
            value.get(field.name.value), field.selection_set
        )
        for field in _fields(selection)
    }
    return chosen | {name: value[name] for name in EXTRA if name in value}
