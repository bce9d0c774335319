"""Composition roots: one function a process, which puts real adapters into the ports. `serve(role, settings)`."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from ops.config import Settings
from ops.wiring.builder import serve_builder
from ops.wiring.control import serve_control
from ops.wiring.gateway import serve_gateway
from ops.wiring.node import serve_node
from ops.wiring.parts import open_log

__all__ = ["ROLES", "open_log", "serve"]

ROLES: Mapping[str, Callable[[Settings], Awaitable[None]]] = MappingProxyType(
    {"gateway": serve_gateway, "control": serve_control, "builder": serve_builder, "node": serve_node}
)


async def serve(role: str, settings: Settings) -> None:
    """Runs the role until it is cancelled. Any error ends the process; the supervisor starts it again from the log."""
    await ROLES[role](settings)
