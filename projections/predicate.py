"""A small expression language over folded state: what `causeway bisect` asks of every position. Pure.

Python's grammar, walked here and never handed to the interpreter: names of views, fields, comparisons, arithmetic,
comprehensions, and the functions of one short list. Nothing in it can reach beyond the states or run for ever. A field
of nothing is nothing, so an expression may speak of what does not exist yet.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from projections.fields import MISSING, names_in, read

Scope = Mapping[str, Any]


class BadExpression(ValueError):
    """It cannot be read or worked out; the message says where, and what may be written."""


_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
}  # fmt: skip
_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_UNARY: Mapping[type, Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": len, "all": all, "any": any, "sum": sum, "min": min, "max": max, "sorted": sorted, "abs": abs, "set": set,
}  # fmt: skip
_METHODS = ("values", "keys", "items", "get")
"""Of mappings."""
_TEXT_METHODS = ("startswith", "endswith")
LENGTH_MAX = 10_000
CALLABLE = (*_FUNCTIONS, *(f".{each}" for each in (*_METHODS, *_TEXT_METHODS)))


class Predicate(msgspec.Struct, frozen=True):
    """Text that has been read; `holds` works it out."""

    text: str
    tree: ast.expr

    def holds(self, scope: Scope) -> bool:
        """`scope`: values and functions by name. Raises BadExpression."""
        try:
            return bool(_value(self.tree, scope))
        except BadExpression:
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise BadExpression(f"{self.text!r} cannot be worked out: {error}") from None
        except RecursionError:
            raise BadExpression(f"{self.text!r} is too deeply nested") from None


def named(predicate: Predicate, functions: tuple[str, ...]) -> tuple[str, ...]:
    """The texts that these functions are called with."""
    calls = [each for each in ast.walk(predicate.tree) if isinstance(each, ast.Call)]
    return tuple(
        argument.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in functions
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )


def parse(text: str, names: tuple[str, ...]) -> Predicate:
    """`names`: those that every scope will have. Raises BadExpression."""
    try:
        if len(text) > LENGTH_MAX:
            raise BadExpression(f"an expression has at most {LENGTH_MAX} characters, not {len(text)}")
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, frozenset(names), names)
    except SyntaxError as error:
        raise BadExpression(f"not an expression: {error.msg}, at character {error.offset}: {text!r}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, BadExpression):
            raise
        raise BadExpression(f"not an expression: {error or 'too deeply nested'}") from None
    return Predicate(text, tree)


def _check(node: ast.AST, known: frozenset[str], offered: tuple[str, ...]) -> None:
    match node:
        case ast.Name(id=name):
            if name not in known and name not in _FUNCTIONS:
                there = ", ".join(sorted({*offered, *_FUNCTIONS}))
                raise BadExpression(
                    f"there is no name {name!r} here; {_meant(name, (*offered, *_FUNCTIONS))}there are {there}"
                )
            return
        case ast.Attribute(value=value, attr=name):
            if name.startswith("_"):
                raise BadExpression(f".{name}: no field begins with an underscore")
            return _check(value, known, offered)
        case ast.Call(func=func, args=args, keywords=keywords):
            _check_call(func, keywords, known)
            if isinstance(func, ast.Attribute):
                _check(func.value, known, offered)
            for each in args:
                _check(each, known, offered)
            return
        case (
            ast.GeneratorExp(elt=elt, generators=loops)
            | ast.ListComp(elt=elt, generators=loops)
            | ast.SetComp(elt=elt, generators=loops)
        ):
            for loop in loops:
                _check(loop.iter, known, offered)
                known |= _bound(loop.target)
                for each in loop.ifs:
                    _check(each, known, offered)
            return _check(elt, known, offered)
        case ast.Constant(value=str() | int() | float() | bool() | None):
            return
        case ast.BoolOp() | ast.Compare() | ast.IfExp() | ast.Subscript() | ast.Tuple() | ast.List() | ast.Set():
            pass
        case ast.BinOp(op=op) if type(op) in _BINARY:
            pass
        case ast.UnaryOp(op=op) if type(op) in _UNARY:
            pass
        case ast.boolop() | ast.cmpop() | ast.operator() | ast.unaryop() | ast.expr_context():
            return
        case _:
            raise BadExpression(f"{ast.unparse(node)!r}: {type(node).__name__} cannot be written here")
    for child in ast.iter_child_nodes(node):
        _check(child, known, offered)


def _check_call(func: ast.expr, keywords: list[ast.keyword], known: frozenset[str]) -> None:
    named = isinstance(func, ast.Name) and (func.id in _FUNCTIONS or func.id in known)
    method = isinstance(func, ast.Attribute) and func.attr in (*_METHODS, *_TEXT_METHODS)
    if keywords or not (named or method):
        functions = ", ".join(sorted((*CALLABLE, *(each for each in known))))
        meant = _meant(ast.unparse(func), (*CALLABLE, *known))
        raise BadExpression(f"{ast.unparse(func)}() cannot be called so; {meant}there are {functions}")


def _meant(text: str, known: Iterable[str]) -> str:
    near = get_close_matches(text, sorted(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def _bound(target: ast.expr) -> frozenset[str]:
    match target:
        case ast.Name(id=name):
            return frozenset((name,))
        case ast.Tuple(elts=elts):
            return frozenset().union(*map(_bound, elts))
        case _:
            raise BadExpression(f"{ast.unparse(target)!r} cannot take a value")


def _value(node: ast.expr, scope: Scope) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return scope[name] if name in scope else _FUNCTIONS[name]
        case ast.Attribute(value=inner, attr=name):
            return _field(_value(inner, scope), name)
        case ast.Subscript(value=inner, slice=key):
            return _item(_value(inner, scope), _value(key, scope))
        case ast.Call():
            return _called(node, scope)
        case ast.BoolOp(op=op, values=values):
            return _either(values, scope, stop=isinstance(op, ast.Or))
        case ast.Compare():
            return _compared(node, scope)
        case ast.BinOp(left=left, op=op, right=right):
            return _arithmetic(op, _value(left, scope), _value(right, scope))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, scope))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, scope) else orelse, scope)
        case ast.List(elts=elts) | ast.Tuple(elts=elts):
            return [_value(each, scope) for each in elts]
        case ast.Set(elts=elts):
            return {_value(each, scope) for each in elts}
        case ast.SetComp(elt=elt, generators=loops):
            return {_value(elt, inner) for inner in _scopes(loops, scope)}
        case ast.ListComp(elt=elt, generators=loops) | ast.GeneratorExp(elt=elt, generators=loops):
            return [_value(elt, inner) for inner in _scopes(loops, scope)]
    raise BadExpression(f"{ast.unparse(node)!r} cannot be written here")


def _field(value: Any, name: str) -> Any:
    if value is None:
        return None
    found = read(value, (name,))
    if found is MISSING:
        known = names_in(value)
        there = ", ".join(known[:20]) or "no fields"
        raise BadExpression(f"there is no {name!r} here; {_meant(name, known)}there are {there}")
    return found


def _item(value: Any, key: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict | list | tuple | str):
        return value[key]
    raise BadExpression(f"{type(value).__name__} has no items")


def _called(node: ast.Call, scope: Scope) -> Any:
    arguments = [_value(each, scope) for each in node.args]
    if isinstance(node.func, ast.Attribute):
        owner, name = _value(node.func.value, scope), node.func.attr
        if owner is None:
            return None if name == "get" else ()
        if (isinstance(owner, dict) and name in _METHODS) or (isinstance(owner, str) and name in _TEXT_METHODS):
            return getattr(owner, name)(*arguments)
        raise BadExpression(f"{ast.unparse(node.func)}() is for {'text' if name in _TEXT_METHODS else 'mappings'}")
    function = _value(node.func, scope)
    if not callable(function):
        raise BadExpression(f"{ast.unparse(node.func)} is no function")
    return function(*arguments)


def _either(values: list[ast.expr], scope: Scope, *, stop: bool) -> Any:
    value: Any = None
    for each in values:
        value = _value(each, scope)
        if bool(value) is stop:
            return value
    return value


def _compared(node: ast.Compare, scope: Scope) -> bool:
    left = _value(node.left, scope)
    for op, each in zip(node.ops, node.comparators, strict=True):
        right = _value(each, scope)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _arithmetic(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Mult | ast.Mod) and not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise BadExpression("* and % are for numbers")
    return _BINARY[type(op)](left, right)


def _scopes(loops: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
    if not loops:
        yield scope
        return
    loop, rest = loops[0], loops[1:]
    for each in _value(loop.iter, scope):
        inner = {**scope, **_assigned(loop.target, each)}
        if all(_value(condition, inner) for condition in loop.ifs):
            yield from _scopes(rest, inner)


def _assigned(target: ast.expr, value: Any) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: value}
    assert isinstance(target, ast.Tuple), "checked when it was read"
    found: dict[str, Any] = {}
    for name, each in zip(target.elts, value, strict=True):
        found |= _assigned(name, each)
    return found
