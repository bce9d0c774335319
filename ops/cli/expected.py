"""Every expected error as one line with its fix, and its exit code; any other error is a bug and shows its traceback.

This module knows the errors of every part of the plane, so it is loaded only when there is an error to explain.
"""

from events.log import Ambiguous, LogBroken, LogUnavailable
from events.signals.load_history import LoadsUnavailable
from events.signals.refusals import RefusalsUnavailable
from handlers.base import Refused
from handlers.dispatch import Contended
from ops.capsule.file import CapsuleBroken, NotWritten
from ops.capsule.redecide import CodeFailed
from ops.cli.failures import FAILED, NOT_RUNNING, USAGE, Failure
from ops.config import BadSetting
from ops.demo import DemoFailed
from ops.explain import Unexplained
from ops.local.attach import NotUp
from ops.local.nats_server import ToolMissing
from ops.local.ports import PortTaken
from ops.local.requests import RequestFailed
from ops.local.stack import AlreadyUp
from ops.local.supervisor import StartFailed
from ops.moments import BadMoment
from ops.names import UnknownName
from ops.past import NoSuchPosition
from ops.plane_client import CallFailed
from ops.restore import RestoreRefused
from ops.search import NotFound
from ops.truss_client import ToolchainMissing
from projections.predicate import BadExpression
from projections.stores.archive import ArchiveBroken
from projections.stores.audit import AuditUnavailable, ReaderRefused
from projections.stores.audit_exports import PyarrowMissing
from projections.stores.objects import StoreUnavailable

EXPECTED = (
    Failure, CallFailed, NotUp, BadSetting, BadMoment, UnknownName, NoSuchPosition, Refused, Contended, Ambiguous,
    LogUnavailable, LogBroken, AuditUnavailable, DemoFailed, StartFailed, AlreadyUp, PortTaken, ToolMissing,
    ToolchainMissing, RequestFailed, LoadsUnavailable, Unexplained, NotFound, BadExpression,
    CapsuleBroken, CodeFailed, NotWritten,
    RefusalsUnavailable, PyarrowMissing, ArchiveBroken, RestoreRefused, StoreUnavailable, ReaderRefused,
)  # fmt: skip


def explained(error: Exception) -> tuple[str, str, int]:
    """What to print, the fix (empty where the message has it) and the exit code."""
    match error:
        case Failure():
            return str(error), error.fix, error.exit_code
        case CallFailed():
            return str(error), error.fix, FAILED
        case NotUp():
            return str(error), "", NOT_RUNNING
        case BadSetting() | BadMoment() | BadExpression():
            return str(error), "", USAGE
        case LogUnavailable():
            return f"the log cannot be reached: {error}", "`causeway status` says what runs", NOT_RUNNING
        case LoadsUnavailable():
            return f"the record of load cannot be reached: {error}", "`causeway status` says what runs", NOT_RUNNING
        case RefusalsUnavailable():
            return f"the record of refusals cannot be reached: {error}", "`causeway status` says what runs", NOT_RUNNING
        case LogBroken():
            return f"the log is broken: {error}", "", FAILED
        case NotWritten():
            return str(error), "name another FILE", USAGE
        case AuditUnavailable():
            return str(error), "`causeway status` says what runs; `causeway events` asks the log itself", FAILED
        case StoreUnavailable():
            return f"the store of objects does not answer: {error}", "look after it, then try again", FAILED
        case Contended() | Ambiguous():
            return str(error), "run the command again", FAILED
        case _:
            return str(error), "", FAILED
