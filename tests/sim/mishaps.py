"""What goes wrong. Each act takes the world and a source of chance; what it breaks heals by itself after a while."""

import asyncio
from random import Random

from agents.effects.fake import Process as ReplicaProcess
from events.base import ReplicaId
from handlers.deciders.node import DrainNode
from tests.faults import NONE, ROUGH
from tests.sim.machines import NodeProcess
from tests.sim.network import FAIR, STORMY
from tests.sim.people import Act
from tests.sim.processes import Process
from tests.sim.world import World


def crash(world: World, dice: Random) -> None:
    """Any process dies and is started again."""
    process = dice.choice([each for each in world.processes if each.up] or [world.apis[0]])
    world.spawn(_crash(world, process, dice.choice((0.0, 1.0, 8.0))), f"crash {process.name}")


async def _crash(world: World, process: Process, pause_s: float) -> None:
    world.tell(f"{process.name} crashes, for {pause_s:g} s")
    await process.crash()
    await asyncio.sleep(pause_s)
    if not isinstance(process, NodeProcess) or process.powered:
        process.start()


def second_control(world: World, dice: Random) -> None:
    """Two control processes at once, for a while."""
    world.spawn(_second_control(world, dice.uniform(5, 60)), "second control")


async def _second_control(world: World, seconds: float) -> None:
    second = world.control[1]
    if second.up:
        return
    world.tell(f"{second.name} runs beside {world.control[0].name} for {seconds:.0f} s")
    second.start()
    world.capacity.several_place = True
    await asyncio.sleep(seconds)
    await second.crash()
    world.capacity.several_place = False
    world.tell(f"{second.name} is gone")


def lose_node(world: World, dice: Random) -> None:
    node = dice.choice(world.nodes)
    if dice.random() < 0.15 and not any(each.destroyed for each in world.nodes):
        world.tell(f"{node.name} is destroyed")
        node.destroyed = True
    if node.powered:
        world.spawn(_lose_node(world, node, dice.choice((2.0, 20.0, 60.0))), f"lose {node.name}")


async def _lose_node(world: World, node: NodeProcess, seconds: float) -> None:
    world.tell(f"{node.name} loses power, for {seconds:g} s")
    await node.lose_power()
    await asyncio.sleep(seconds)
    world.tell(f"{node.name} boots")
    node.boot_up()


def retire_node(world: World, dice: Random) -> None:
    """Drained for maintenance, and switched off, whether it has left by then or not; comes back afterwards."""
    node = dice.choice(world.nodes)
    if node.powered and not node.destroyed:
        world.spawn(_retire_node(world, node, dice.uniform(1, 90)), f"retire {node.name}")


async def _retire_node(world: World, node: NodeProcess, seconds: float) -> None:
    world.ask(DrainNode(**world.identity(), node_id=node.node_id, reason="maintenance"))
    await asyncio.sleep(seconds)
    if node.powered:
        world.tell(f"{node.name} is switched off and on again")
        await node.lose_power()
        node.boot_up()


def mute_node(world: World, dice: Random) -> None:
    """Its heartbeats are lost; it still reaches the log."""
    node = dice.choice(world.nodes)
    world.spawn(_mute(world, node, dice.uniform(5, 50)), f"mute {node.name}")


async def _mute(world: World, node: NodeProcess, seconds: float) -> None:
    world.tell(f"{node.name} is not heard for {seconds:.0f} s")
    node.signals.muted = True
    await asyncio.sleep(seconds)
    node.signals.muted = False


def cut_signals(world: World, dice: Random) -> None:
    """A process is off the channel of signals, and knows when it is back."""
    process = dice.choice((*world.control, *world.gateways, *world.nodes))
    world.spawn(_cut_signals(world, process, dice.uniform(2, 40)), f"cut {process.name}'s signals")


async def _cut_signals(world: World, process: Process, seconds: float) -> None:
    world.tell(f"{process.name} is off the channel of signals for {seconds:.0f} s")
    process.signals.cut()
    await asyncio.sleep(seconds)
    process.signals.join()


def storm_of_signals(world: World, dice: Random) -> None:
    world.spawn(_storm_of_signals(world, dice.uniform(5, 30)), "weather")


async def _storm_of_signals(world: World, seconds: float) -> None:
    world.tell(f"signals are lost, doubled and late for {seconds:.0f} s")
    world.network.weather = STORMY
    await asyncio.sleep(seconds)
    world.network.weather = FAIR


def cut_log(world: World, dice: Random) -> None:
    """The log is away, for one process or for all."""
    whom = world.processes if dice.random() < 0.3 else (dice.choice(world.processes),)
    world.spawn(_cut_log(world, whom, dice.choice((0.5, 5.0, 25.0))), "log outage")


async def _cut_log(world: World, whom: tuple[Process, ...], seconds: float) -> None:
    names = "everybody" if len(whom) > 1 else whom[0].name
    world.tell(f"the log is out of reach of {names} for {seconds:g} s")
    for process in whom:
        process.log.cut()
    await asyncio.sleep(seconds)
    for process in whom:
        process.log.mend()


def rough_log(world: World, dice: Random) -> None:
    """Half of one process's appends go wrong in some way."""
    process = dice.choice(world.processes)
    world.spawn(_rough_log(world, process, dice.uniform(3, 20)), f"rough {process.name}")


async def _rough_log(world: World, process: Process, seconds: float) -> None:
    world.tell(f"{process.name}'s way to the log is rough for {seconds:.0f} s")
    before = process.log.faults
    process.log.faults = ROUGH
    await asyncio.sleep(seconds)
    if process.log.faults is ROUGH:
        process.log.faults = NONE if world.log_faults is NONE else before


def jump_clock(world: World, dice: Random) -> None:
    process = dice.choice(world.processes)
    jump_s = dice.choice((-40.0, -5.0, 5.0, 40.0))
    world.tell(f"{process.name}'s clock jumps by {jump_s:+g} s")
    process.clock.skew_s = max(-60.0, min(60.0, process.clock.skew_s + jump_s))


def crash_replica(world: World, dice: Random) -> None:
    running = _replicas(world)
    if running:
        node, replica_id = dice.choice(running)
        world.tell(f"replica {replica_id} on {node.name} crashes")
        node.effects.crash(replica_id)


def hang_replica(world: World, dice: Random) -> None:
    running = _replicas(world)
    if running:
        node, replica_id = dice.choice(running)
        world.tell(f"replica {replica_id} on {node.name} hangs")
        process = node.effects.processes[replica_id]
        world.spawn(_hang(process, dice.choice((8.0, 90.0))), f"hang {replica_id}")


async def _hang(process: ReplicaProcess, seconds: float) -> None:
    process.hung = True
    await asyncio.sleep(seconds)
    process.hung = False


def _replicas(world: World) -> list[tuple[NodeProcess, ReplicaId]]:
    return [
        (node, replica_id)
        for node in world.nodes
        for replica_id, process in node.effects.processes.items()
        if not process.exited.done()
    ]


MISHAPS: tuple[tuple[int, Act], ...] = (
    (6, crash),
    (2, second_control),
    (2, lose_node),
    (1, retire_node),
    (2, mute_node),
    (2, cut_signals),
    (1, storm_of_signals),
    (2, cut_log),
    (2, rough_log),
    (2, jump_clock),
    (3, crash_replica),
    (1, hang_replica),
)
"""With their weights. What models and builds do wrong is in `machines.Scripts`."""
