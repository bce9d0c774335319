"""From a retired schema version to the next one. Append-only: an event that has shipped is never edited.

Each entry maps a retired tag to the tag that replaces it and a pure function from the old JSON object to the new one.
The codec follows the chain until it meets a tag that `AnyEvent` knows. How to add one: ops/docs/adding-an-event.md.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Mapping[str, tuple[str, Upcast]] = MappingProxyType({})
