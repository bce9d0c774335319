"""The table of reactors. Each has one purpose; together they turn events and signals into commands."""

from typing import Any

from handlers.base import Reactor
from handlers.reactors.autoscale import AUTOSCALE
from handlers.reactors.bring_up import BRING_UP
from handlers.reactors.detect_lost import DETECT_LOST
from handlers.reactors.place_replicas import PLACE_REPLICAS
from handlers.reactors.promote import PROMOTE
from handlers.reactors.roll_back import ROLL_BACK

REACTORS: tuple[Reactor[Any], ...] = (BRING_UP, PLACE_REPLICAS, DETECT_LOST, PROMOTE, ROLL_BACK, AUTOSCALE)
