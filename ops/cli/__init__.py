"""The `causeway` command. Each command parses, asks one function, and prints what it answers.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the stack is not running.
"""

import gc
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.commands import MARKUP, Commands

SELDOM = 2_000_000
"""New objects before Python looks for cycles: a state of a million objects, without any, is asked one question."""


class _Group(Commands):
    """Prints expected errors as a line and its fix."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            from ops.cli.expected import EXPECTED, explained

            if not isinstance(error, EXPECTED):
                raise
            message, fix, exit_code = explained(error)
            err = ctx.obj.err
            err.print(f"causeway: {message}", soft_wrap=True, style="red")
            if fix:
                err.print(f"fix: {fix}", soft_wrap=True)
            raise typer.Exit(exit_code) from None


app = typer.Typer(
    name="causeway",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Causeway: a self-hosted control plane for model serving, built on one event log.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the stack is not running. "
    "Settings are CAUSEWAY_* variables: `causeway doctor --settings` lists them.",
)


@app.callback()
def _begin(
    context: typer.Context,
    capsule: Annotated[
        Path | None,
        typer.Option("--capsule", metavar="FILE", dir_okay=False, help="Ask the history in this file instead."),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option("--archive", metavar="FOLDER|s3://…", help="Ask the archive of a log instead."),
    ] = None,
) -> None:
    import structlog

    from ops.cli.session import Session

    if context.obj is None:
        context.obj = Session()
    if capsule is not None:
        context.obj.capsule = capsule
    if archive is not None:
        context.obj.archive = archive
    # What libraries log must not end up between the lines of an answer.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def main() -> None:
    gc.set_threshold(SELDOM)
    app(prog_name="causeway")
