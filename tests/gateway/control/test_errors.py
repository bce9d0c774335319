"""One mapping from what can go wrong to what a client is told."""

from pathlib import Path

import pytest

from events.log import LogUnavailable
from gateway.control.errors import ApiError, answer_error, as_api_error
from gateway.control.resources import resources_of, type_of
from gateway.secrets import BadSecret, SecretFiles
from handlers.base import Refused, RefusedKind
from handlers.dispatch import Contended


@pytest.mark.parametrize(
    ("kind", "status"),
    [("invalid", 400), ("not_found", 404), ("conflict", 409), ("precondition", 409), ("capacity", 503)],
)
def test_every_kind_of_refusal_has_one_status(kind: RefusedKind, status: int) -> None:
    told = as_api_error(Refused(kind, "because", "field"))
    assert (told.status, told.problem.code, told.problem.field) == (status, kind, "field")
    assert (told.retry_after_s is not None) == (status == 503)


def test_what_may_pass_says_when_to_ask_again() -> None:
    for error, status in [(LogUnavailable(), 503), (Contended("busy"), 409)]:
        answer = answer_error(as_api_error(error))
        assert answer.status_code == status and answer.headers["retry-after"]


def test_an_unforeseen_error_tells_nothing_of_its_inside() -> None:
    told = as_api_error(ZeroDivisionError("password=hush"))
    assert told.status == 500 and "hush" not in told.problem.message


@pytest.mark.parametrize(
    ("resources", "cpu", "memory", "name"),
    [
        ({}, 1000, 2 << 30, "1x2"),
        ({"cpu": "500m", "memory": "512Mi"}, 500, 512 << 20, "1x1"),
        ({"cpu": 1.5, "memory": "3G"}, 1500, 3 * 10**9, "2x3"),
        ({"cpu": "2", "memory": "2147483648"}, 2000, 2 << 30, "2x2"),
        ({"instance_type": "CPU:4x16", "cpu": "1"}, 4000, 16 << 30, "4x16"),
    ],
)
def test_sizes_are_read_as_configs_write_them(resources: object, cpu: int, memory: int, name: str) -> None:
    read = resources_of({"resources": resources})
    assert (read.cpu_millicores, read.memory_bytes) == (cpu, memory)
    assert type_of(cpu, memory).name == name


@pytest.mark.parametrize(
    "resources", [{"cpu": "0"}, {"cpu": "x"}, {"memory": "2Zi"}, {"memory": "1"}, {"accelerator": "H100"}, "2 cores",
                  {"instance_type": "H100:1x1"}]
)  # fmt: skip
def test_sizes_that_mean_nothing_are_refused_by_their_name(resources: object) -> None:
    with pytest.raises(ApiError) as told:
        resources_of({"resources": resources})
    assert str(told.value.problem.field).startswith("resources")


def test_a_secrets_value_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(BadSecret) as told:
        SecretFiles(tmp_path).store("big", "x" * (2 << 20))
    assert told.value.field == "value"


@pytest.mark.parametrize("name", ["no name", "a.b", "../run/peer-secret", ""])
def test_what_can_be_no_secrets_name_names_no_secret(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "peer-secret").write_text("the plane's own")
    (tmp_path / "a.b").write_text("nor this")
    assert SecretFiles(tmp_path / "secrets").read(name) is None
    assert SecretFiles(tmp_path).read(name) is None
