"""Starts the truss model server of the bundle in the working folder. A script on its own, run by the replica's Python.

The server is truss's, untouched; what the hosted platform fixes outside of it is fixed here: it listens where the node
says and not on every interface, and where there is no sandbox to mount them, /packages, /secrets and
/etc/b10_dynamic_config are folders of the replica's own. Runs on every Python that truss supports (3.9 and newer).
"""

import argparse
import os
import runpy
import stat
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any


def listen_on(host: str) -> None:
    """truss names 0.0.0.0; models then answer whoever reaches the machine, without a key."""
    import uvicorn

    make = uvicorn.Config.__init__

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("host") == "0.0.0.0":
            kwargs["host"] = host
        make(self, *args, **kwargs)

    uvicorn.Config.__init__ = made  # type: ignore[method-assign]  # that is the point


def tell_news(handle: int) -> None:
    """The node waits at the other end, and is spared asking. Steps: begun, listens, loaded (what truss calls ready)."""

    def tell(letter: bytes) -> None:
        with suppress(OSError):  # Nobody may be there any more: the replica outlives the node's agent.
            os.write(handle, letter)

    try:
        if not stat.S_ISFIFO(os.fstat(handle).st_mode):
            return
        os.set_inheritable(handle, False)
    except OSError:
        return
    tell(b"b")
    import uvicorn

    startup = uvicorn.Server.startup

    async def started(self: Any, *args: Any, **kwargs: Any) -> None:
        wrapper: Any = getattr(sys.modules.get("model_wrapper"), "ModelWrapper", None)
        load: Any = getattr(wrapper, "load", None)

        def loaded(self: Any) -> None:
            load(self)
            tell(b"r")

        if load is not None:
            wrapper.load = loaded
        await startup(self, *args, **kwargs)
        tell(b"l")

    uvicorn.Server.startup = started  # type: ignore[method-assign]


def take_from(packages: str, secrets: str, dynamic_config: str) -> None:
    sys.path.append(packages)
    resolver: Any = import_module("_truss_shared.secrets_resolver").SecretsResolver
    resolver.SECRETS_MOUNT_DIR = secrets
    config: Any = import_module("_truss_shared.dynamic_config_resolver")
    config.DYNAMIC_CONFIG_MOUNT_DIR = dynamic_config


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the bundle in the working folder.")
    parser.add_argument("--listen", required=True, metavar="HOST")
    parser.add_argument("--news", type=int, metavar="DESCRIPTOR")
    parser.add_argument("--folders", nargs=3, metavar=("PACKAGES", "SECRETS", "DYNAMIC_CONFIG"))
    wanted = parser.parse_args()
    if wanted.news is not None:
        tell_news(wanted.news)
    sys.path[0] = os.getcwd()  # As if main.py had been started itself.
    sys.argv = ["main.py"]
    if wanted.folders:
        take_from(*wanted.folders)
    listen_on(wanted.listen)
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
