"""What is public is described: every setting, metric, code, command and driver setting has its page."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
import yaml
from pydantic import BaseModel

from loadtests.subject import Subject, a_pool
from loadtests.wire import Wire, encode
from stoker.config.policies.facts import CLAIMS, FACTS_VERSION
from stoker.config.policies.manifests import (
    Approvals,
    BreakGlass,
    Canary,
    Caps,
    Defaults,
    Expect,
    Forced,
    Limits,
    PolicySpec,
    Reason,
    Rule,
)
from stoker.config.settings import SETTINGS, Setting
from stoker.config.shapes import Shape
from stoker.daemon.cli.group import cli
from stoker.daemon.problems_http import MEANINGS, HttpCode
from stoker.pools.drivers import catalogue
from stoker.pools.reasons import WaitCode
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "loadtests").rglob("*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=[setting.name for setting in SETTINGS])
def test_a_setting_is_documented_with_its_flag_variable_and_default(setting: Setting) -> None:
    row = next(
        (line for line in read("settings.md").splitlines() if f"`{setting.name}`" in line), ""
    )
    assert f"`{setting.flag}" in row
    assert f"`{setting.env}`" in row
    assert setting.default.strip("`") in row


@pytest.mark.parametrize("code", [code.value for code in MEANINGS])
def test_an_error_code_is_documented_with_its_status(code: str) -> None:
    status = next(meaning.status for each, meaning in MEANINGS.items() if each.value == code)
    described = [line for line in read("errors.md").splitlines() if f"`{code}`" in line]
    assert any(str(status) in line for line in described), f"docs/errors.md: `{code}`, {status}"


def test_every_documented_code_exists_with_this_status_and_sayer() -> None:
    rows = re.findall(
        r"^\| \[`([a-z-]+)`\]\(#([a-z-]+)\) \| (\d+) \| the (socket|pools) \|$",
        read("errors.md"),
        re.MULTILINE,
    )
    assert all(code == anchor for code, anchor, _, _ in rows)
    told = {code: (int(status), sayer) for code, _, status, sayer in rows}
    assert len(rows) == len(told)
    assert told == {
        code.value: (meaning.status, "socket" if isinstance(code, HttpCode) else "pools")
        for code, meaning in MEANINGS.items()
    }


def test_every_code_has_a_section_with_meaning_cause_and_remedy_and_no_other_has() -> None:
    page = read("errors.md").partition("## Why a claim waits")[0]
    sections = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert {code.value for code in MEANINGS} == set(sections)
    for code, meaning in MEANINGS.items():
        text = sections[code.value]
        assert re.match(rf"\n{meaning.status} {re.escape(meaning.title)}\. \w", text), code
        assert re.search(r"^\*\*Cause\.\*\* \S", text, re.MULTILINE), code
        assert re.search(r"^\*\*Remedy\.\*\* \S", text, re.MULTILINE), code


def test_every_reason_to_wait_is_documented_with_meaning_cause_and_remedy_and_no_other_is() -> None:
    table = read("errors.md").partition("## Why a claim waits")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", table, re.MULTILINE)
    assert {code.value for code in WaitCode} == {code for code, _ in rows}
    assert len(WaitCode) == len(rows)
    for _, rest in rows:
        limit, *sentences = [cell.strip() for cell in rest.split(" |")]
        assert re.fullmatch(r"(`[a-z.]+`)?", limit)
        assert 3 == len(sentences)
        assert all(sentence.endswith(".") for sentence in sentences)


async def test_every_metric_is_documented_and_every_documented_metric_exists(
    short_tmp: Path,
) -> None:
    subject = Subject(short_tmp)
    subject.declare(a_pool("web", 1, 1))
    async with subject.running():
        wire = await Wire.connect(str(subject.socket))
        _, body = await wire.ask(encode("GET", "/metrics"))
        wire.close()
    exposed = set(re.findall(r"^# TYPE (stoker_[a-z_]+)", body.decode(), re.MULTILINE))
    documented = set(re.findall(r"^\|\s*`(stoker_[a-z_]+)", read("metrics.md"), re.MULTILINE))
    assert exposed == documented


def test_the_rules_for_alerts_are_yaml_and_read_metrics_that_exist() -> None:
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", read("metrics.md"), re.DOTALL)
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    documented = set(re.findall(r"^\|\s*`(stoker_[a-z_]+)", read("metrics.md"), re.MULTILINE))
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        used = set(re.findall(r"stoker_[a-z_]+", rule["expr"]))
        assert used, rule
        assert used <= documented
        assert {"severity"} == set(rule["labels"])
        assert rule["annotations"]["summary"]


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None, name
        yield name, command
        if isinstance(command, click.Group):
            for inner, it in command.commands.items():
                yield f"{name} {inner}", it


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=[name for name, _ in commands()]
)
def test_a_command_is_documented_with_its_options(name: str, command: click.Command) -> None:
    page = read("cli.md")
    assert f"stoker {name}" in page
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and option.name != "help":
            assert any(f"`{flag}" in page for flag in option.opts), f"stoker {name} {option.opts}"


def facts_of(shapes: Mapping[str, Shape], above: str = "") -> Iterator[tuple[str, str]]:
    for name, shape in shapes.items():
        if shape.members is None:
            yield f"{above}{name}", shape.type.value
        else:
            yield from facts_of(shape.members, f"{above}{name}.")


def test_every_fact_of_policies_is_documented_with_its_type_and_no_other_is() -> None:
    table = read("policies.md").partition("## Facts")[2].partition("### Bounds")[0]
    rows = re.findall(r"^\| (`[^|]*`) \| ([a-z]+) \|", table, re.MULTILINE)
    documented = {(name, kind) for names, kind in rows for name in re.findall(r"`([^`]+)`", names)}
    assert set(facts_of(CLAIMS.roots)) == documented
    assert f"version {FACTS_VERSION} of the facts" in table


@pytest.mark.parametrize(
    "model",
    [
        Canary,
        Limits,
        Defaults,
        Caps,
        Forced,
        Reason,
        Approvals,
        BreakGlass,
        PolicySpec,
        Expect,
        Rule,
    ],
)
def test_every_key_of_a_policy_is_documented(model: type[BaseModel]) -> None:
    page = read("policies.md")
    for name, field in model.model_fields.items():
        key = field.alias or name
        assert re.search(rf"`[^`]*\b{key}\b[^`]*`", page), key


@pytest.mark.parametrize(
    ("driver", "setting"),
    [
        (facts.name, field.alias or name)
        for facts in catalogue().values()
        for name, field in facts.settings.model_fields.items()
    ],
)
def test_a_driver_setting_is_documented(driver: str, setting: str) -> None:
    assert f"`{setting}`" in read(f"drivers/{driver}.md")


@pytest.mark.parametrize(
    ("driver", "output"),
    [(facts.name, output) for facts in catalogue().values() for output in facts.outputs],
)
def test_a_driver_output_is_documented(driver: str, output: str) -> None:
    assert f"`{output}`" in read(f"drivers/{driver}.md")


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{target} in {page.name}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target} in {page.name}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "README.md")}
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or page in listed, (
            f"docs/README.md does not list {page.name}"
        )


def shown_commands(page: Path) -> Iterator[str]:
    """The commands in the page's `console` blocks, after their `$`."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:].partition("  #")[0]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_shown_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    known = dict(commands())
    for line in shown_commands(page):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            asked = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            assert asked <= targets, line
        elif words[:1] == ["stoker"]:
            _check_options(line, words[1:], known)


def _check_options(line: str, words: list[str], known: dict[str, click.Command]) -> None:
    plain = [word for word in words if not word.startswith("-")]
    name = next((n for n in (" ".join(plain[:2]), plain[0] if plain else "") if n in known), None)
    if not plain and words in (["--version"], ["--help"]):
        return
    assert name is not None, f"no such command: {line}"
    flags = {flag for option in (*known[name].params, *cli.params) for flag in option.opts}
    for word in words[: words.index("--")] if "--" in words else words:
        if word.startswith("-"):
            assert word.partition("=")[0] in flags | {"--help"}, f"{word} in: {line}"


def test_no_page_names_a_machine() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.search(r"/(?:work|root|home)/\w+|/tmp/\w+", text)
        assert found is None, f"{page.name} says {found and found[0]}"
