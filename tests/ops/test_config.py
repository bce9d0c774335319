"""Settings: read once, refused clearly, and handed on to children without loss."""

from pathlib import Path

import pytest

from ops.config import STATE_FOLDERS, BadSetting, documented, load


def test_without_variables_everything_has_its_default() -> None:
    settings = load({})
    assert settings.state.name == ".causeway"
    assert (settings.port, settings.nats_url, settings.sandbox) == (None, None, "auto")


def test_a_child_reads_the_same_settings_that_its_parent_had(tmp_path: Path) -> None:
    ours = load({"CAUSEWAY_STATE": str(tmp_path), "CAUSEWAY_STOP_DEADLINE_S": "2.5", "CAUSEWAY_PORT": "8123",
                 "PATH": "/bin", "UV_INDEX_URL": "https://index", "LC_ALL": "C", "EDITOR": "ed"})  # fmt: skip
    assert load(ours.environ()) == ours
    assert ours.environ().keys() >= {"PATH", "UV_INDEX_URL", "LC_ALL"}
    assert "EDITOR" not in ours.environ()


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("CAUSEWAY_PORT", "eighty", "a port number 1-65535"),
        ("CAUSEWAY_PORT", "70000", "a port number 1-65535"),
        ("CAUSEWAY_SANDBOX", "docker", "one of auto, bubblewrap, process"),
        ("CAUSEWAY_STOP_DEADLINE_S", "-1", "seconds, as a number >= 0"),
        ("CAUSEWAY_STOP_DEADLINE_S", "nan", "seconds, as a number >= 0"),
        ("CAUSEWAY_NATS_URL", "localhost:4222", "nats://user:password@host:4222"),
        ("CAUSEWAY_DOMAIN", "https://example.com", "a host name without scheme or port"),
        ("CAUSEWAY_MODEL_HOSTS", "example.com", "host=model"),
        ("CAUSEWAY_MODEL_HOSTS", "https://a.b=iris", "host=model"),
        ("CAUSEWAY_RATE_LIMIT_PER_S", "0", "above 0"),
        ("CAUSEWAY_PREFIX_AFFINITY_BYTES", "-1", "0 for off"),
        ("CAUSEWAY_PROT", "8000", "did you mean CAUSEWAY_PORT?"),
    ],
)
def test_a_bad_variable_is_refused_with_its_name_its_value_and_the_fix(variable: str, value: str, fix: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load({variable: value})
    assert variable in str(refused.value) and repr(value) in str(refused.value) and fix in str(refused.value)


def test_hosts_of_ones_own_are_kept_as_written() -> None:
    text = "iris.example.com=iris, beta.example.com=meta/llama/staging"
    assert load({"CAUSEWAY_MODEL_HOSTS": text}).model_hosts == text


def test_a_password_is_never_printed() -> None:
    settings = load({"CAUSEWAY_NATS_URL": "nats://us:secret@host", "CAUSEWAY_API_KEY": "secret"})
    assert "secret" not in repr(settings)
    with pytest.raises(BadSetting) as refused:
        load({"CAUSEWAY_POSTGRES_URL": "mysql://us:secret@host/db"})
    assert "secret" not in str(refused.value)


def test_every_variable_is_documented_with_a_sentence() -> None:
    assert all(name.startswith("CAUSEWAY_") and about.endswith(".") for name, _, about in documented())


def test_the_state_folder_keeps_secrets_to_its_owner(tmp_path: Path) -> None:
    settings = load({"CAUSEWAY_STATE": str(tmp_path / "state")})
    modes = {name: settings.folder(name).stat().st_mode & 0o077 for name in STATE_FOLDERS}
    assert modes["run"] == modes["secrets"] == 0
    with pytest.raises(ValueError, match="unknown state folder 'stuff'"):
        settings.folder("stuff")


def test_the_origin_is_the_public_url_or_the_port_on_this_machine() -> None:
    assert load({"CAUSEWAY_PORT": "8001", "CAUSEWAY_BIND": "0.0.0.0"}).origin == "http://127.0.0.1:8001"
    assert load({"CAUSEWAY_PORT": "8001", "CAUSEWAY_BIND": "::1"}).origin == "http://[::1]:8001"
    assert load({"CAUSEWAY_PUBLIC_URL": "https://models.example.com/"}).origin == "https://models.example.com"
