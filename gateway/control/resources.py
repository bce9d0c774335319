"""Sizes as configs write them (`"500m"`, `"2Gi"`), and the instance types that they come to.

An instance type is named `<cores>x<GiB>`; it says what was asked for, rounded up, not what a machine is.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.control.errors import invalid
from projections.fleet import Fleet

GIB = 1 << 30
MIB = 1 << 20
CPU_MILLICORES = 1000
MEMORY_BYTES = 2 * GIB
"""What a config that says nothing gets: truss's own defaults."""
LADDER = ((1, 2), (1, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 128), (64, 256))
_MEMORY = re.compile(r"(\d*\.?\d+)([kKMGT]i?)?")
_UNIT = {"": 1, "Ki": 1 << 10, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_CPU = re.compile(r"(\d*\.?\d+)(m?)")


class Resources(msgspec.Struct, frozen=True):
    cpu_millicores: int
    memory_bytes: int


class InstanceType(msgspec.Struct, frozen=True):
    id: str
    name: str
    memory_limit_mib: int
    millicpu_limit: int
    gpu_count: int = 0
    gpu_type: str | None = None
    gpu_memory_limit_mib: int | None = None


def resources_of(config: Mapping[str, Any]) -> Resources:
    given = config.get("resources") or {}
    if not isinstance(given, Mapping):
        raise invalid("resources must be a mapping such as {cpu: '1', memory: 2Gi}", "resources")
    if given.get("accelerator"):
        raise invalid(
            f"no node offers the accelerator {given['accelerator']!r}", "resources.accelerator", "leave it out"
        )
    asked = given.get("instance_type")
    if isinstance(asked, str) and asked:
        return _of_instance_type(asked)
    cpu, memory = given.get("cpu"), given.get("memory")
    return Resources(
        CPU_MILLICORES if cpu is None else _millicores(str(cpu)),
        MEMORY_BYTES if memory is None else _bytes(str(memory)),
    )


def _of_instance_type(text: str) -> Resources:
    """`CPU:4x16` or `4x16`."""
    match = re.fullmatch(r"(?:CPU:)?(\d{1,3})x(\d{1,4})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise invalid(f"no node offers the instance type {text!r}", "resources.instance_type", "write it like CPU:4x16")
    return Resources(int(match[1]) * 1000, int(match[2]) * GIB)


def _millicores(text: str) -> int:
    match = _CPU.fullmatch(text)
    millicores = 0 if match is None else math.ceil(float(match[1]) * (1 if match[2] else 1000))
    if not 1 <= millicores <= 1_000_000:
        raise invalid(f"{text!r} is no number of cores", "resources.cpu", "write cores such as '2', or '500m'")
    return millicores


def _bytes(text: str) -> int:
    match = _MEMORY.fullmatch(text)
    size = 0 if match is None else math.ceil(float(match[1]) * _UNIT.get(match[2] or "", 0))
    if not MIB <= size <= 1 << 50:
        raise invalid(f"{text!r} is no size of memory", "resources.memory", "write a size such as '2Gi' or '512Mi'")
    return size


def type_of(cpu_millicores: int, memory_bytes: int) -> InstanceType:
    name = f"{max(1, math.ceil(cpu_millicores / 1000))}x{max(1, math.ceil(memory_bytes / GIB))}"
    return InstanceType(name, name, math.ceil(memory_bytes / MIB), cpu_millicores)


DEFAULT_TYPE = type_of(CPU_MILLICORES, MEMORY_BYTES)


def offered(fleet: Fleet) -> list[InstanceType]:
    """What fits on the largest of our nodes: the usual sizes, and all of the node."""
    up = [node for node in fleet.nodes.values() if node.status == "up"]
    sizes = {
        (cores * 1000, gib * GIB)
        for cores, gib in LADDER
        if any(cores * 1000 <= node.cpu_millicores and gib * GIB <= node.memory_bytes for node in up)
    }
    sizes |= {(node.cpu_millicores // 1000 * 1000, node.memory_bytes // GIB * GIB) for node in up}
    return [type_of(cpu, memory) for cpu, memory in sorted(sizes) if cpu and memory]
