"""Which modules are pure, and what a pure module may not do: the one list of both.

A pure module turns values into values. Time, ids and chance come in as data, so that a replay gives what life
gave. It is checked on the syntax tree, where nothing can be hidden behind a lucky test run.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

PURE = (
    "events/*.py",
    "handlers/deciders/*.py",
    "handlers/reactors/*.py",
    "handlers/scaling_rule.py",
    "handlers/load_window.py",
    "handlers/load_digest.py",
    "handlers/schedule.py",
    "handlers/rehearsal.py",
    "handlers/backoff.py",
    "handlers/whatif.py",
    "handlers/redecide.py",
    "projections/*.py",
    "gateway/choose.py",
    "gateway/resolve.py",
    "gateway/webhooks/lanes.py",
    "agents/reconcile.py",
    "agents/state.py",
    "agents/weights/cache.py",
    "agents/weights/owners.py",
    "agents/weights/fetch.py",
)
NOT_PURE = ("projections/follow.py", "projections/view.py")

FORBIDDEN_IMPORTS = frozenset((
    "time", "uuid", "random", "secrets", "os", "io", "pathlib", "shutil", "tempfile", "glob", "logging", "structlog",
    "asyncio", "threading", "multiprocessing", "concurrent", "select", "signal", "socket", "ssl", "subprocess",
    "sqlite3", "urllib", "http", "requests", "httpx", "aiohttp", "nats", "asyncpg", "psutil",
))  # fmt: skip
FORBIDDEN_CALLS = frozenset(("open", "print", "input", "eval", "exec", "globals", "__import__"))
CLOCKS = frozenset(("now", "utcnow", "today"))
MUTABLE_MAKERS = frozenset(
    ("list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "count", "cycle", "iter")
)
READ_ONLY = frozenset(("Mapping", "Sequence", "Collection", "AbstractSet", "Iterable", "frozenset", "tuple"))


def is_pure(name: str) -> bool:
    """Whether the module of that path (from the checkout) has promised to be pure."""
    # fnmatch lets * cross folders; a pure folder's subfolders are not pure by its promise.
    here = [pattern for pattern in PURE if fnmatch(name, pattern) and name.count("/") == pattern.count("/")]
    return bool(here) and name not in NOT_PURE


def breaches(tree: ast.Module) -> Iterator[str]:
    """What the module does that a pure one may not, as `line: what`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{node.lineno}: async; a pure function returns its answer"
        elif isinstance(node, ast.Global):
            yield f"{node.lineno}: global {', '.join(node.names)}; state goes in and comes out as a value"
        elif isinstance(node, ast.Import):
            yield from _imports(node.lineno, [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _imports(node.lineno, [node.module])
        elif isinstance(node, ast.Call):
            yield from _calls(node)
        elif isinstance(node, ast.For | ast.comprehension) and _makes_a_set(node.iter):
            yield f"{node.iter.lineno}: iterates over a set, whose order differs between runs; sort it"
    for statement in tree.body:
        yield from _module_state(statement)


def _imports(line: int, modules: list[str]) -> Iterator[str]:
    for module in modules:
        if module.split(".")[0] in FORBIDDEN_IMPORTS:
            yield f"{line}: imports {module}"


def _calls(node: ast.Call) -> Iterator[str]:
    called = node.func
    if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
        yield f"{node.lineno}: calls {called.id}()"
    if isinstance(called, ast.Attribute) and called.attr in CLOCKS and "date" in ast.unparse(called.value):
        yield f"{node.lineno}: reads the clock by {ast.unparse(called)}(); take the time as an argument"


def _makes_a_set(node: ast.expr) -> bool:
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
    return made or isinstance(node, ast.Set | ast.SetComp)


def _module_state(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return
        case ast.Assign(value=value) if _is_mutable(value):
            yield f"{statement.lineno}: mutable at module level; make it a tuple, or annotate it as Mapping"
        case ast.AnnAssign(value=ast.expr() as value, annotation=annotation) if _is_mutable(value):
            # Read-only by its type: the type checker refuses every write.
            if not {each.id for each in ast.walk(annotation) if isinstance(each, ast.Name)} & READ_ONLY:
                yield f"{statement.lineno}: mutable at module level; annotate it as Mapping, Sequence or AbstractSet"
        case ast.AugAssign():
            yield f"{statement.lineno}: changes module state in place"


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return name in MUTABLE_MAKERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)
