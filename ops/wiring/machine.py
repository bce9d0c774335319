"""What the two agents of a machine share: its name, its fence, its tools and its stores."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from agents.effects.environments import Environments
from agents.effects.fence import Fence, find_fence
from events.base import NodeId
from events.signals.log_lines import LogFiles
from gateway.secrets import SecretFiles
from ops.config import CHECKOUT, Settings
from ops.local.files import read_or_none
from projections.stores.blobs import FolderBlobs
from projections.stores.whole import write_whole

CONTEXT_SCRIPT = CHECKOUT / "ops" / "truss_tools" / "context.py"


@dataclass(frozen=True)
class Machine:
    node_id: NodeId
    fence: Fence
    uv: Path
    environments: Environments
    blobs: FolderBlobs
    logs: LogFiles
    secrets: SecretFiles


def uv_of(settings: Settings) -> Path:
    return settings.uv or Path(sys.executable).parent / "uv"


def bubblewrap_of(settings: Settings) -> Path | None:
    if settings.bubblewrap is not None:
        return settings.bubblewrap
    found = shutil.which("bwrap", path=dict(settings.inherited_env).get("PATH"))
    return Path(found) if found else None


def node_id_of(settings: Settings) -> NodeId:
    """The machine's name, made once for a state folder."""
    file = settings.folder("run") / "node-id"
    known = read_or_none(file)
    if known is None:
        write_whole(file, f"node-{token_hex(3)}".encode())
        return node_id_of(settings)
    return NodeId(known.decode())


async def machine(settings: Settings) -> Machine:
    found = shutil.which("bwrap", path=dict(settings.inherited_env).get("PATH"))
    bubblewrap = settings.bubblewrap or (Path(found) if found else None)
    fence = await find_fence(settings.sandbox, bubblewrap)
    uv = uv_of(settings)
    return Machine(
        node_id=node_id_of(settings),
        fence=fence,
        uv=uv,
        environments=Environments(
            settings.folder("environments"),
            uv=uv,
            cache=settings.cache,
            own_python=Path(sys.executable),
            surroundings=dict(settings.inherited_env),
            fence=fence,
        ),
        blobs=FolderBlobs(settings.folder("blobs")),
        logs=LogFiles(settings.folder("logs")),
        secrets=SecretFiles(settings.folder("secrets")),
    )
