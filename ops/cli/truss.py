"""`causeway truss …`: the untouched truss client, against this plane."""

import typer

from ops.cli.options import session_of
from ops.truss_client import run_truss


def register(app: typer.Typer) -> None:
    app.command(
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "allow_interspersed_args": False,
            "help_option_names": [],
        },
    )(truss)


def truss(context: typer.Context) -> None:
    """Run the stock truss client with everything that follows: `causeway truss push examples/iris`."""
    session = session_of(context)
    settings = session.settings
    url, key = session.api()
    code = run_truss(
        url,
        key,
        context.args,
        toolchain=settings.truss_venv,
        trussrc=settings.folder("run") / "trussrc",
        environ=dict(settings.inherited_env),
    )
    raise typer.Exit(code)
