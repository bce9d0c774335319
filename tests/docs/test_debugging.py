"""The walk through a real case in ops/docs/debugging.md, command by command, on the capsule that ships."""

import re
from pathlib import Path

import pytest

from events.codec import event_type
from ops.capsule.file import past_in, read
from ops.capsule.redecide import again
from ops.config import CHECKOUT
from projections.base import fold
from projections.routing import ROUTING
from tests.golden.planted import FILE, OUTAGE_S, planted
from tests.ops.cli_runs import Shell

PAGE = CHECKOUT / "ops" / "docs" / "debugging.md"
ANYTHING = "…"
REMAKE = "if that is meant: delete tests/golden/planted.capsule, `make golden`, and correct ops/docs/debugging.md"


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines that the page shows of its answer."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


COMMANDS = blocks(PAGE.read_text())


@pytest.mark.parametrize(("line", "shown"), COMMANDS, ids=[line[:60] for line, _ in COMMANDS])
def test_each_command_answers_what_the_page_shows(
    line: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    if line.startswith("export "):
        assert line == f"export CAUSEWAY_CAPSULE={FILE.relative_to(CHECKOUT)}" and not shown
        return
    assert line.startswith("causeway ")
    answer = Shell(tmp_path, None, CAUSEWAY_CAPSULE=str(FILE)).run(line.removeprefix("causeway "))
    assert answer.code == (1 if " replay " in line else 0), f"{answer.err}{REMAKE}"
    said = [each.rstrip() for each in (*answer.err.splitlines(), *answer.out.splitlines())]
    assert matches(said, shown), f"{line} says:\n" + "\n".join(said) + f"\n{REMAKE}"


def matches(said: list[str], shown: list[str]) -> bool:
    """`…` stands for any lines, the others for themselves."""
    pattern = "".join(".*" if each == ANYTHING else re.escape(each.rstrip() + "\n") for each in shown)
    return re.fullmatch(pattern, "".join(each + "\n" for each in said), re.DOTALL) is not None


def test_the_page_uses_what_it_promises() -> None:
    used = {line.split()[1] for line, _ in COMMANDS if line.startswith("causeway ")}
    assert {"state", "diff", "blame", "step", "bisect", "why", "explain", "capsule"} <= used


async def test_the_capsule_holds_the_planted_bug() -> None:
    events = await past_in(read(FILE)).read()
    (model,) = [each for each in fold(ROUTING, events).models.values() if each.name == "iris"]
    without = []
    for recorded in events:
        table = fold(ROUTING, events[: recorded.position])
        current = table.models[model.model_id].environments["production"] if model.model_id in table.models else None
        if current is not None and not table.deployments[current].replicas:
            without.append(recorded)
    after = events[without[-1].position]
    assert (after.meta.at - without[0].meta.at).total_seconds() >= OUTAGE_S


def test_todays_code_decides_all_of_it_alike_but_the_planted_decision() -> None:
    found = again(read(FILE))
    assert [(each.kind, each.recorded[0]["type"]) for each in found.differences] == [
        ("not called for", "PromotionCompleted")
    ], f"this code decides an old history otherwise; {REMAKE}"


async def test_the_story_can_still_be_told_with_todays_events() -> None:
    """So that the capsule can be made anew when an event that has not shipped changes."""
    plane = await planted()
    kinds = [event_type(each.event) for each in await plane.log.read()]
    assert kinds.count("PromotionCompleted") == kinds.count("ReplicaReady") == 3
    assert kinds[kinds.index("ReplicaStopped") :].count("ReplicaReady") == 1, "the old one went before the new one came"
