"""What a command under a claim finds in its environment."""

import json

import pytest

from stoker.client import ClaimInfo
from stoker.daemon.cli.environment import variable_of, with_outputs


def a_claim(**outputs: object) -> ClaimInfo:
    return ClaimInfo("c-1", "web", "bound", ("web-1",), outputs)


@pytest.mark.parametrize(
    ("output", "variable"),
    [
        ("url", "STOKER_URL"),
        ("api-token", "STOKER_API_TOKEN"),
        ("port.http", "STOKER_PORT_HTTP"),
        ("größe", "STOKER_GR__E"),
        ("a1", "STOKER_A1"),
    ],
)
def test_an_output_has_a_variable_in_capitals(output: str, variable: str) -> None:
    assert variable == variable_of(output)


def test_text_stays_text_and_all_else_is_json() -> None:
    environment, warnings = with_outputs(
        {"PATH": "/bin"}, a_claim(url="http://x", ports={"http": 80}, n=3, on=True, none=None)
    )
    assert [] == warnings
    assert environment == {
        "PATH": "/bin",
        "STOKER_CLAIM": "c-1",
        "STOKER_POOL": "web",
        "STOKER_RESOURCE": "web-1",
        "STOKER_URL": "http://x",
        "STOKER_PORTS": '{"http": 80}',
        "STOKER_N": "3",
        "STOKER_ON": "true",
        "STOKER_NONE": "null",
        "STOKER_OUTPUTS": json.dumps(
            {"url": "http://x", "ports": {"http": 80}, "n": 3, "on": True, "none": None}
        ),
    }


@pytest.mark.parametrize("name", ["claim", "pool", "resource", "outputs", "socket"])
def test_the_names_of_stoker_itself_are_not_taken_by_outputs(name: str) -> None:
    environment, warnings = with_outputs({"STOKER_SOCKET": "/s"}, a_claim(**{name: "mine"}))
    assert "mine" not in {value for key, value in environment.items() if key != "STOKER_OUTPUTS"}
    assert {name: "mine"} == json.loads(environment["STOKER_OUTPUTS"])
    told = (
        f"The output '{name}' is not in STOKER_{name.upper()}, because that name is stoker's own; "
        "read it from STOKER_OUTPUTS."
    )
    assert [told] == warnings


def test_two_outputs_with_one_variable_are_told() -> None:
    environment, warnings = with_outputs({}, a_claim(**{"a-b": "1", "a.b": "2"}))
    assert "1" == environment["STOKER_A_B"]
    assert "the output 'a-b' has that name too" in warnings[0]


def test_what_an_environment_cannot_hold_is_told() -> None:
    environment, warnings = with_outputs({}, a_claim(big="x" * 200_000, nul="a\0b"))
    assert not {"STOKER_BIG", "STOKER_NUL", "STOKER_OUTPUTS"} & set(environment)
    assert ["too large for an environment", "NUL character", "together are too large"] == [
        next(
            part
            for part in ("together are too large", "NUL character", "too large for an environment")
            if part in one
        )
        for one in warnings
    ]


def test_the_outputs_of_several_resources_have_their_number() -> None:
    each = ({"url": "http://1"}, {"url": "http://2", "n": 2})
    claim = ClaimInfo("c-1", "web", "bound", ("web-1", "web-2"), each[0], each)

    environment, warnings = with_outputs({}, claim)

    assert warnings == []
    assert environment == {
        "STOKER_CLAIM": "c-1",
        "STOKER_POOL": "web",
        "STOKER_RESOURCE": "web-1",
        "STOKER_RESOURCES": "web-1 web-2",
        "STOKER_OUTPUTS": '{"url": "http://1"}',
        "STOKER_URL": "http://1",
        "STOKER_1_URL": "http://1",
        "STOKER_2_URL": "http://2",
        "STOKER_2_N": "2",
    }
