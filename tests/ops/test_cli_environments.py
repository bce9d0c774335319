"""Environments and promotions, as typed: their history from the log, and what is asked of the plane."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.environment import EnvironmentReverted, PromotionCompleted, PromotionSettings, RequestLimits
from events.scaling import AutoscalingSettings
from handlers.deciders.environment import (
    ConfigureEnvironment,
    DeleteEnvironment,
    RevertEnvironment,
    SetPromotionSettings,
)
from handlers.deciders.model import model_id_of
from ops.cli.promotions import promotion_end
from tests.histories import history
from tests.ops.api import Api
from tests.ops.cli_runs import Shell
from tests.ops.stacks import ELSEWHERE, SLEEPS, running, settings_for

M = model_id_of("default", "iris")
PLACE: dict[str, Any] = {"model_id": M, "environment": "production"}


async def _story() -> tuple[Recorded, ...]:
    """Two versions; settings change; back to the first; a second environment that comes and goes."""
    async with history() as plane:
        await plane.join()
        first = await plane.push()
        await plane.build(first)
        await plane.bring_ready(first)
        good = await plane.head()
        second = await plane.push(environment="production")
        await plane.build(second)
        await plane.bring_ready(second)
        settings = AutoscalingSettings(max_replica=5)
        await plane.do(ConfigureEnvironment(**plane.asked(), **PLACE, autoscaling=settings))
        rolling = PromotionSettings(rolling_deploy=True)
        await plane.do(SetPromotionSettings(**plane.asked(), **PLACE, settings=rolling))
        await plane.do(
            RevertEnvironment(
                **plane.asked(), **PLACE, to_position=Position(good), deployment_id=first, wanted_replicas=1,
                autoscaling=AutoscalingSettings(), promotion=PromotionSettings(), limits=RequestLimits(), deadline_s=60,
            )
        )  # fmt: skip
        await plane.bring_ready(first)
        await plane.create_environment(M, "staging")
        await plane.do(DeleteEnvironment(**plane.asked(), model_id=M, environment="staging"))
        return await plane.log.read()


EVENTS = asyncio.run(_story())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_NATS_URL="nats://127.0.0.1:1")


@pytest.fixture
def remote(tmp_path: Path, api: Api) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")


def test_settings_that_come_with_the_switch_are_shown_until_it(shell: Shell) -> None:
    def coming(position: Position) -> Any:
        promotion = shell.run(f"env show iris --at {position} -o json").json["state"]["promotion"]
        return promotion.get("sets_when_it_completes")

    (reverted,) = [each.position for each in EVENTS if isinstance(each.event, EnvironmentReverted)]
    switched = [each.position for each in EVENTS if isinstance(each.event, PromotionCompleted)][-1]
    assert coming(Position(reverted - 1)) is None and coming(switched) is None
    told = coming(Position(switched - 1))
    assert told["autoscaling_settings"]["max_replica"] == 1
    assert told["promotion_settings"]["rolling_deploy"] is False and "request_settings" in told
    shown = shell.run(f"env show iris --at {switched - 1}").out
    assert "sets_when_it_completes" in shown


def test_the_logs_of_an_environment_are_asked_of_the_plane_and_printed_oldest_first(remote: Shell, api: Api) -> None:
    line = {"timestamp": "1772355600000000000", "message": "new", "replica": "r1", "request_id": None, "level": "INFO"}
    build = {**line, "timestamp": "1772355500000000000", "message": "old", "replica": None}
    api.answer = 200, {"logs": [line, build]}
    answer = remote.run("env logs iris --since 1h --level info --contains n -n 5")
    assert [each.split()[2:] for each in answer.out.splitlines()] == [["build", "info", "old"], ["r1", "info", "new"]]
    ((method, path, _, _),) = api.asked
    asked = parse_qs(path.partition("?")[2])
    assert (method, path.partition("?")[0]) == ("GET", f"/v1/models/{M}/environments/production/logs")
    assert int(asked["end_epoch_millis"][0]) - int(asked["start_epoch_millis"][0]) == 3600_001
    assert (asked["min_level"], asked["limit"], asked["includes"]) == (["info"], ["5"], ["n"])
    assert [each["source"] for each in remote.run("env logs iris -o json").rows] == ["build", "r1"]
    api.answer = 200, {"logs": []}
    assert "no lines of iris/production since 30m" in remote.run("env logs iris").err


def test_the_log_of_an_environment_says_what_changed_how_long_it_took_by_whom_and_why(shell: Shell) -> None:
    entries = shell.run("env log iris -o json").json
    assert [each["type"] for each in entries] == [
        "PromotionStarted", "PromotionCompleted", "PromotionStarted", "PromotionCompleted", "EnvironmentConfigured",
        "PromotionSettingsSet", "EnvironmentReverted", "PromotionStarted", "PromotionStepped", "PromotionCompleted",
        "EnvironmentConfigured", "PromotionSettingsSet",
    ]  # fmt: skip
    ended = [each for each in entries if each["type"] == "PromotionCompleted"]
    assert [each["deployment"] for each in ended] == ["deployment-1", "deployment-2", "deployment-1"]
    assert ended[1]["what"] == "is current instead of deployment-1 (SCALE_TO_ZERO)"
    assert all(each["seconds"] > 0 and each["actor"] == "reactor:promote" for each in ended)
    assert all(each["cause"] < each["position"] for each in ended)
    configured = entries[4]
    assert (configured["actor"], configured["cause"]) == ("key:ada", None)
    assert configured["what"] == "autoscaling_settings.max_replica: 1 -> 5"
    assert entries[5]["what"] == "promotion_settings.rolling_deploy: no -> yes"
    assert entries[6]["what"].startswith("to what it was at position ")
    table = shell.run("env log iris/production").out
    assert "promotion_settings.rolling_deploy: no -> yes" in table and "deployment-2" in table


def test_an_active_promotion_is_told_by_the_status_of_the_stack(tmp_path: Path) -> None:
    async def going() -> tuple[Recorded, ...]:
        async with history() as plane:
            await plane.join()
            first = await plane.push()
            await plane.build(first)
            await plane.bring_ready(first)
            second = await plane.push(environment="production")
            await plane.build(second)
            return await plane.log.read()

    with running(settings_for(tmp_path, **ELSEWHERE), [("gateway", [], SLEEPS)]):
        said = Shell(tmp_path, asyncio.run(going())).run("status").out
    assert "promotion of deployment-2 to iris/production: RELEASING, 0 % of the traffic" in said


def test_a_deleted_environment_keeps_its_history(shell: Shell) -> None:
    entries = shell.run("env log iris/staging -o json").json
    assert [each["type"] for each in entries] == ["EnvironmentCreated", "EnvironmentDeleted"]
    assert entries[0]["what"] == "autoscaling_settings.max_replica: 1 -> 2"
    assert "it was not there then" in shell.run("env show iris/staging").err
    there = shell.run(f"env show iris/staging --at {entries[0]['position']} -o json").json
    assert there["state"]["autoscaling_settings"]["max_replica"] == 2


def test_an_environment_is_shown_and_compared_at_any_position(shell: Shell) -> None:
    entries = shell.run("env log iris -o json").json
    changed = entries[5]["position"]
    now, then = shell.run("env show iris -o json").json, shell.run(f"env show iris --at {changed} -o json").json
    assert (now["state"]["current"], then["state"]["current"]) == ("deployment-1", "deployment-2")
    assert then["state"]["promotion_settings"]["rolling_deploy"] is True
    assert now["state"]["promotion"]["status"] == "SUCCEEDED"
    difference = shell.run(f"env diff iris {changed} now -o json").json
    assert {tuple(each["path"]): each["after"] for each in difference["changes"]}[("current",)] == "deployment-1"
    assert "current: deployment-1 -> deployment-2\n" in shell.run(f"env diff iris now {changed}").out
    assert "current: deployment-1" in shell.run("env show iris").out


def test_an_environment_that_nobody_knows_is_answered_with_those_that_are(shell: Shell) -> None:
    for command in ("log iris/prod", "show nothing", "diff iris/prod 1 2"):
        answer = shell.run(f"env {command}")
        assert answer.code == 1 and "iris/production" in answer.err


@pytest.mark.parametrize(
    ("typed", "method", "tail", "body"),
    [
        ("env activate iris", "POST", "/production/activate", None),
        ("env deactivate iris/production", "POST", "/production/deactivate", None),
        ("env delete iris/staging", "DELETE", "/staging", None),
        ("env create iris/canary --autoscaling max_replica=3", "POST", "",
         {"name": "canary", "autoscaling_settings": {"max_replica": 3}}),
        ("env set iris --promotion rolling_deploy=true --promotion rolling_deploy_config.max_surge_percent=25"
         " --promotion promotion_cleanup_strategy=KEEP --requests call_deadline_s=null", "PATCH", "/production",
         {"promotion_settings": {"rolling_deploy": True, "rolling_deploy_config": {"max_surge_percent": 25},
                                 "promotion_cleanup_strategy": "KEEP"},
          "request_settings": {"call_deadline_s": None}}),
        ("promotion pause iris", "POST", "/production/pause_promotion", None),
        ("promotion resume iris", "POST", "/production/resume_promotion", None),
        ("promotion cancel iris", "POST", "/production/cancel_promotion", None),
        ("promotion force-cancel iris", "POST", "/production/force_cancel_promotion", None),
        ("promotion roll-forward iris", "POST", "/production/force_roll_forward_promotion", None),
        ("promotion weight iris 20", "POST", "/production/set_canary_weight", {"percent": 20}),
    ],
)  # fmt: skip
def test_each_asks_for_its_environment(
    remote: Shell, api: Api, typed: str, method: str, tail: str, body: object
) -> None:
    api.answer = (200, {"message": "as you like"})
    answer = remote.run(typed)
    assert answer.code == 0, answer.err
    path = f"/v1/models/{M}/environments{tail}"
    assert api.asked == [(method, path, "Api-Key prefix.secret", body)]
    assert "iris" in answer.out or "as you like" in answer.out


@pytest.mark.parametrize("typed", ["set iris", "set iris --promotion rolling", "create iris"])
def test_what_is_typed_wrong_is_usage(remote: Shell, api: Api, typed: str) -> None:
    answer = remote.run(f"env {typed}")
    assert (answer.code, api.asked) == (2, []) and "fix: " in answer.err


def test_a_revert_says_what_changes_and_a_dry_run_what_would(remote: Shell, api: Api) -> None:
    sides = {"before": {"deployment": "deployment-2", "max": 5}, "after": {"deployment": "deployment-1", "max": 1}}
    api.answer = (200, {"promotes": True, **sides})
    tried = remote.run("env revert iris --to 9 --dry-run")
    assert tried.out == "deployment: deployment-2 -> deployment-1\nmax: 5 -> 1\n"
    assert "2 would change; deployment-1 would be promoted" in tried.err
    done = remote.run("env revert iris --to 9")
    assert "2 changed; deployment-1 is being promoted" in done.err
    assert [each[3] for each in api.asked] == [
        {"to_position": 9, "dry_run": True},
        {"to_position": 9, "dry_run": False},
    ]


def test_a_preview_says_what_changes_and_whether_there_is_room(remote: Shell, api: Api) -> None:
    preview = {
        "copy": "deployment-1 serves staging already",
        "before": {"routing": {"production": "deployment-2"}},
        "after": {"routing": {"production": "a copy of deployment-1"}},
        "capacity": {"replicas": 2, "cpu_millicores": 500, "memory_mib": 512, "room_for": 1},
    }
    api.answer = (200, preview)
    answer = remote.run("promote iris/deployment-1 --environment production --dry-run")
    assert answer.code == 0, answer.err
    assert "routing.production: deployment-2 -> a copy of deployment-1" in answer.out
    assert "2 more replicas of 500 millicores, 512 MiB; the nodes have room for 1" in answer.out
    assert "serves staging already" in answer.out
    assert api.asked[0][3]["dry_run"] is True


def test_promoting_what_is_current_already_does_not_wait_for_ever(remote: Shell, api: Api) -> None:
    first = remote.run("deployments -o json").json[0]["deployment_id"]
    api.answer = (200, {"id": first, "name": "deployment-1", "current_deployment": {"id": first}})
    assert remote.run("promote iris/deployment-1 -o json").json["result"] == "not needed"


async def test_who_waits_for_a_promotion_that_cannot_begin_is_told_so() -> None:
    async with history() as plane:
        await plane.join()
        pushed = await plane.push(environment="production")
        await plane.build(pushed, failure="no such package: nump")
        end = await promotion_end(plane.log, ORIGIN, pushed, "production")
    assert (end["result"], end["reason"]) == ("failed", "no such package: nump")


async def test_who_waits_for_a_promotion_is_told_how_it_ended() -> None:
    async with history() as plane:
        await plane.join()
        first = await plane.push()
        await plane.build(first)
        await plane.bring_ready(first)
        end = await promotion_end(plane.log, ORIGIN, first, "production")
    assert end["result"] == "completed"
