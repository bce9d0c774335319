"""Starts truss's live reload server before a development deployment's model server. Run by the truss tools' Python.

The server is truss's, untouched (truss/templates/control): it starts the model server, passes requests on to it, and
applies patches. Fixed here is what the hosted platform fixes outside of it: the patches that were made before this
replica are applied before its model server starts; /control answers only the node agent, who knows the token; and the
process ends when it cannot serve, without waiting for truss's watching thread.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

TOKEN_HEADER = b"x-causeway-control"


def use_truss_code() -> None:
    """The control server's own folders are its import roots, as in the image that it was made for."""
    import truss  # type: ignore[import-not-found]

    templates = Path(truss.__file__).parent / "templates"
    sys.path[:0] = [str(templates / "control" / "control"), str(templates)]


def apply_first(home: Path, uv: str, patches: list[dict[str, Any]]) -> None:
    """Changes files, packages and variables of this process before anything is started in it."""
    from helpers.custom_types import Patch  # type: ignore[import-not-found]
    from helpers.truss_patch.model_container_patch_applier import (  # type: ignore[import-not-found]
        ModelContainerPatchApplier,
    )

    for patch in patches:
        # A new one each time: it reads the config when it is made, and an earlier patch may have changed it.
        ModelContainerPatchApplier(home, logging.getLogger("patches"), uv)(Patch.from_dict(patch), os.environ)


def guarded(app: Any, token: str) -> Any:
    """Without it, whoever may call the model could change its code."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        about_control = scope["type"] == "http" and scope["path"].startswith("/control")
        if about_control and (TOKEN_HEADER, token.encode()) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return answer


def main(settings: dict[str, Any]) -> None:
    use_truss_code()
    import uvicorn
    from application import create_app  # type: ignore[import-not-found]
    from endpoints import WS_MAX_MSG_SZ_BYTES  # type: ignore[import-not-found]
    from shared import log_config  # type: ignore[import-not-found]

    logging.config.dictConfig(log_config.make_log_config("INFO"))
    home = Path(settings["home"])
    try:
        apply_first(home, settings["uv"], settings["patches"])
    except Exception as error:
        logging.exception("the patches made so far cannot be applied")
        sys.exit(f"the patches made so far cannot be applied ({error}): push again")
    os.environ["HASH_TRUSS"] = settings["hash"]
    app = create_app(
        {
            "inference_server_home": str(home),
            "inference_server_process_args": settings["command"],
            "inference_server_port": settings["inference_port"],
            "uv_path": settings["uv"],
        }
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    server = uvicorn.Server(
        uvicorn.Config(
            guarded(app, settings["token"]),
            host=settings["listen"],
            port=settings["port"],
            http="h11",
            loop="uvloop",
            ws_max_size=WS_MAX_MSG_SZ_BYTES,
            access_log=False,  # The model server behind it tells of every request.
        )
    )
    try:
        server.run()  # Asked to end, it ends the process itself, by the same signal.
    finally:
        # truss's watching thread would hold on to a process that could not have its port.
        logging.shutdown()
        os._exit(1)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
