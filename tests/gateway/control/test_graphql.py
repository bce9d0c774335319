"""The documents of the stock client: answered in their shape, and every error readable."""

import json
from base64 import b64encode
from typing import Any

import pytest

from events.model import DeploymentPushed
from tests.gateway.control.stand import CONFIG, Stand

VERSION = "model_version { id oracle { id name hostname } instance_type { name } }"


def encoded(config: Any) -> str:
    return b64encode(json.dumps(config).encode()).decode()


def create(s3_key: str, name: str = "iris", more: str = "", config: Any = CONFIG) -> str:
    return f"""
        mutation ($trussUserEnv: String, $userDeployMetadata: JSONString, $rawConfig: String) {{
            create_model_from_truss(
                name: "{name}"
                s3_key: "{s3_key}"
                config: "{encoded(config)}"
                semver_bump: "MINOR"
                truss_user_env: $trussUserEnv
                {more}
                user_deploy_metadata: $userDeployMetadata
                raw_config: $rawConfig
            ) {{ {VERSION} }}
        }}"""


def create_version(model_id: str, s3_key: str, more: str = "") -> str:
    return f"""
        mutation ($trussUserEnv: String) {{
            create_model_version_from_truss(
                model_id: "{model_id}"
                s3_key: "{s3_key}"
                config: "{encoded(CONFIG)}"
                semver_bump: "MINOR"
                truss_user_env: $trussUserEnv
                scale_down_old_production: false
                preserve_env_instance_type: true
                {more}
            ) {{ {VERSION} }}
        }}"""


async def test_who_am_i_and_which_teams(stand: Stand) -> None:
    data = await stand.graphql("{ organization { workspace_name } user { email } teams { id name default } }")
    assert data["organization"] == {"workspace_name": "causeway"}
    assert "ada" in data["user"]["email"]
    assert data["teams"] == [{"id": "default", "name": "Default", "default": True}]


async def test_credentials_lead_the_upload_to_us_though_nobody_asked_for_the_address(stand: Stand) -> None:
    fields = "s3_bucket s3_key aws_access_key_id aws_secret_access_key aws_session_token"
    data = await stand.graphql(f"{{ model_s3_upload_credentials {{ {fields} }} }}")
    creds = data["model_s3_upload_credentials"]
    assert creds["endpoint_url"] == "http://plane/s3"
    assert all(creds.values())


async def test_a_push_makes_a_model_and_the_next_one_a_version_of_it(stand: Stand) -> None:
    labels = json.dumps({"team": "blue"})
    raw = b64encode(b"model_name: iris # mine\n").decode()
    first = await stand.graphql(
        create(await stand.uploaded()), trussUserEnv="{}", userDeployMetadata=labels, rawConfig=raw
    )
    version = first["create_model_from_truss"]["model_version"]
    model_id = version["oracle"]["id"]
    assert version["oracle"] == {"id": model_id, "name": "iris", "hostname": f"http://plane/model-{model_id}"}
    assert version["instance_type"] == {"name": "1x1"}
    second = await stand.graphql(
        create_version(model_id, await stand.uploaded(), 'name: "blue" environment_name: "production"')
    )
    other = second["create_model_version_from_truss"]["model_version"]["id"]
    events = [event for event in await stand.recorded() if isinstance(event, DeploymentPushed)]
    assert [(e.number, e.name, e.environment, e.scale_down_previous) for e in events] == [
        (1, "deployment-1", None, True),
        (2, "blue", "production", False),
    ]
    assert (events[0].cpu_millicores, events[0].memory_bytes, events[0].labels) == (500, 512 << 20, '{"team":"blue"}')
    assert events[0].raw_config and await stand.blobs.read(events[0].raw_config) == b"model_name: iris # mine\n"
    models = await stand.graphql('{ models(team_id: "default") { models_of: id name team { id name } } }')
    assert models["models"] == [{"models_of": model_id, "name": "iris", "team": {"id": "default", "name": "Default"}}]
    query = f'{{ model(id: "{model_id}") {{ hostname primary_version {{ id }} versions {{ id is_draft semver }} }} }}'
    model = (await stand.graphql(query))["model"]
    assert [each["id"] for each in model["versions"]] == [other, version["id"]]
    version_query = f'{{ model_version(id: "{other}") {{ is_draft oracle {{ name }} }} }}'
    assert (await stand.graphql(version_query))["model_version"] == {"is_draft": False, "oracle": {"name": "iris"}}


async def test_a_push_that_is_sent_again_pushes_nothing_twice(stand: Stand) -> None:
    s3_key = await stand.uploaded()
    first = await stand.graphql(create(s3_key))
    position = stand.views.position
    assert await stand.graphql(create(s3_key)) == first
    assert stand.views.position == position


async def test_a_development_push_replaces_the_one_before(stand: Stand) -> None:
    ids = []
    for _ in range(2):
        query = create(await stand.uploaded()).replace("create_model_from_truss", "deploy_draft_truss")
        ids.append((await stand.graphql(query))["deploy_draft_truss"]["model_version"]["id"])
    model = (await stand.graphql('{ model(name: "iris") { versions { id is_draft } } }'))["model"]
    assert model["versions"] == [{"id": ids[1], "is_draft": True}]


async def test_every_error_of_a_config_is_told_with_its_field_and_fix(stand: Stand) -> None:
    wrong = {"model_nam": "x", "resources": {"cpu": "many"}, "bdn": {"mounts": [{"source": "bdn:a/b", "path": "/x"}]}}
    query = f'query {{ truss_validation(truss_user_env: "{{}}" config: "{encoded(wrong)}") {{ success details }} }}'
    found = (await stand.graphql(query))["truss_validation"]
    errors = json.loads(found["details"])["errors"]
    assert found["success"] is False
    for field in ("model_nam", "resources.cpu", "bdn"):
        assert any(error.startswith(f"{field}: ") for error in errors), errors
    right = query.replace(encoded(wrong), encoded(CONFIG))
    assert (await stand.graphql(right))["truss_validation"]["success"] is True
    (warning,) = json.loads((await stand.graphql(right))["truss_validation"]["details"])["warnings"]
    assert "max_replica is 1" in warning and "causeway scale MODEL/DEPLOYMENT --set max_replica=N" in warning
    gpu = query.replace(encoded(wrong), encoded({"resources": {"accelerator": "H100"}}))
    assert "no node offers" in (await stand.graphql(gpu))["truss_validation"]["details"]


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ('environment_name: "nope"', "environment_name", "it has production"),
        ("deploy_timeout_minutes: 5", "deploy_timeout_minutes", "from 10 to 1440"),
        ('version_name: "a b"', "name", "only letters"),
        ('team_id: "other"', "team_id", "no team"),
        ("allow_truss_download: false", "--disable-truss-download", "not there yet"),
    ],
)
async def test_what_a_push_asks_for_wrongly_is_named(stand: Stand, more: str, field: str, said: str) -> None:
    error = await stand.refused(create(await stand.uploaded(), more=more))
    assert said in error["message"] and error["extensions"]["field"] == field
    assert not stand.views.catalogue.state.deployments


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"not a tar" * 500, "not a tar"),
        (b"\x1f\x8bnot gzip", "not a tar"),
        (b"\0" * 10240, "no files"),
    ],
)
async def test_an_upload_that_is_no_archive_is_refused(stand: Stand, body: bytes, said: str) -> None:
    error = await stand.refused(create(await stand.uploaded(body)))
    assert said in error["message"] and error["extensions"]["field"] == "s3_key"


@pytest.mark.parametrize("s3_key", ["nothing", "../../etc/passwd", "models/" + "0" * 32 + "/truss.tgz"])
async def test_an_upload_that_never_was_is_refused(stand: Stand, s3_key: str) -> None:
    assert (await stand.refused(create(s3_key)))["extensions"]["field"] == "s3_key"


@pytest.mark.parametrize("name", ['my "best" model', "two\nlines", 'ends in "'])
async def test_a_name_that_breaks_the_document_is_named(stand: Stand, name: str) -> None:
    error = await stand.refused(create("key", name=name))
    assert "model_name" in error["message"] and "quotes" in error["message"]
    assert error["extensions"]["field"] == "model_name"


async def test_a_name_that_survives_the_document_but_not_the_next_one_is_refused(stand: Stand) -> None:
    error = await stand.refused(create(await stand.uploaded(), name='escaped \\"quote\\"'))
    assert error["extensions"]["field"] == "model_name"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ nothing_like_this { id } }", "is not an operation"),
        ('{ truss_watch_state(id: "x") { is_container_built_from_push } }', "no model"),
        ("{ teams { ...all } } fragment all on Team { id }", "fragments"),
        ("{", "cannot be parsed"),
        ("{a" * 4000, "nested"),
        ('{ model(id: "nope") { id } }', "no model"),
        ('{ truss_validation(config: "not base64!") { success } }', "base64"),
        ("{ teams { id { x } } }", "no fields"),
    ],
)
async def test_a_document_that_cannot_be_answered_says_why(stand: Stand, query: str, said: str) -> None:
    assert said in (await stand.refused(query))["message"]


async def test_a_body_that_is_no_graphql_request_is_an_error_in_a_200(stand: Stand) -> None:
    answer = await stand.client.post("/graphql/", content=b"query=teams")
    assert answer.status_code == 200 and "not JSON" in answer.json()["errors"][0]["message"]
