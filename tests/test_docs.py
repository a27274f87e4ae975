"""Documents are right: samples run, links lead somewhere, and the options, files and fields that they name exist."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from gossip_counter import __version__
from gossip_counter.bench.cli import app as bench_app
from gossip_counter.cluster.cli import app as cluster_app
from gossip_counter.node.core.messages import GossipStatusOk
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.endpoints.redis.commands import COMMANDS
from tests.support.documents import DOCUMENTS, NOT_RUN, ROOT, Block, blocks, matches, shell, shown_by

ALL = [*DOCUMENTS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", ROOT / "bench" / "RESULTS.md"]
OPERATIONS = ROOT / "docs" / "operations.md"
OLD_WORDS = re.compile(
    r"\b(strangers?|swallow\w*|recount\w*|uncounted|unsaved|the doors?|a door|the world|complaints?|unforeseen)\b", re.I
)


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def runs(block: Block) -> bool:
    return block.language != "text" and not block.mark.startswith("not run: ")


def section(document: Path, title: str) -> str:
    """What stands under a heading, up to the next one that is not below it."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", document.read_text(), re.M | re.S)
    assert found, f"{document.name} has no section {title!r}"
    return found[2]


def code(text: str) -> list[str]:
    """Code spans, and the commands of console blocks."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return spans + re.findall(r"^\$ (.*)", text, re.M)


# Samples.


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_path)
def test_every_block_is_run_or_says_why_not(document: Path) -> None:
    for block in blocks(document):
        assert block.language in {"console", "python", "toml", "text"}, f"line {block.line}"
        if block.mark.startswith("not run: "):
            assert block.mark.removeprefix("not run: ") in NOT_RUN, f"line {block.line}"


@pytest.mark.timeout(180)  # commands are real processes, and a busy machine starts them slowly
@pytest.mark.parametrize(
    "document",
    [each for each in DOCUMENTS if any(runs(block) and block.mark != "slow" for block in blocks(each))],
    ids=by_path,
)
def test_samples_do_what_they_show(document: Path, tmp_path: Path) -> None:
    with shell(tmp_path) as session:
        for block in blocks(document):
            if runs(block) and block.mark != "slow":
                session.run(block)


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "block",
    [block for each in DOCUMENTS for block in blocks(each) if block.mark == "slow"],
    ids=lambda block: block.document.stem,
)
def test_slow_samples_do_what_they_show(block: Block, tmp_path: Path) -> None:
    with shell(tmp_path) as session:
        session.run(block)


def test_what_a_sample_shows_is_compared() -> None:
    assert matches("5 nodes up in 0.26 s on 127.0.0.1:7101", "5 nodes up in 11.03 s on 127.0.0.1:7101\n")
    assert matches("n3 up again, pid 4711", "n3 up again, pid 99")
    assert matches("a\n…", "a\nb\nc") and matches("a\n…", "a") and matches("… listens", "today n1 listens")
    assert matches("name  clock  heard", "name  clock     heard") and not matches("name  clock", "name clock")
    assert not matches("n1 counted +42", "n1 counted +43")
    assert not matches("", "error")
    assert shown_by('print(a)  # 3 3: why\nprint("b")  # b') == "3 3\nb"


# What documents refer to.


@cache
def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", ALL, ids=by_path)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", ALL, ids=by_path)
def test_files_and_tests_that_are_named_exist(document: Path) -> None:
    for span in code(document.read_text()):
        if re.fullmatch(r"(node|cluster|bench|tests|docs|src)/[\w./-]*(::\w+)?", span):
            path, _, test = span.partition("::")
            assert (ROOT / path).exists(), span
            assert not test or re.search(rf"^(async )?(def|class) {test}\b", (ROOT / path).read_text(), re.M), span


def test_every_source_file_is_described() -> None:
    table = section(ROOT / "docs" / "architecture.md", "Which file does what")
    described = {
        ROOT / path for row in table.splitlines() for path in re.findall(r"`([\w/]+(?:\.py|/))`", row.split(" | ")[0])
    }
    described -= {ROOT / layer for layer in re.findall(r"^\*\*`([\w/]+)`", table, re.M)}
    for path in (each for folder in ("node", "cluster", "bench") for each in (ROOT / folder).rglob("*.py")):
        if not path.name.startswith("__"):
            assert described & {path, *path.parents}, f"{by_path(path)} is not in the table"


def test_every_promise_names_code_and_tests() -> None:
    rows = section(ROOT / "docs" / "architecture.md", "Where each promise is kept").strip().splitlines()[2:]
    assert len(rows) >= 6
    for row in rows:
        assert "tests/" in row, row


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_path)
def test_words_are_those_of_the_code(document: Path) -> None:
    assert not OLD_WORDS.findall(document.read_text())


@pytest.mark.parametrize("document", ALL, ids=by_path)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {span.split()[1] for span in code(document.read_text()) if re.match(r"make [a-z]", span)} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_path)
def test_no_figure_is_left_to_fill_in(document: Path) -> None:
    assert not re.findall(r"HOPS-[A-Z-]+|MUTATION-SCORE", document.read_text())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


# Commands and options.


def options_of(app: typer.Typer) -> dict[str, set[str]]:
    """By command, the options it takes; by "", those of the program."""
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = {"": group, **group.commands}
    return {
        name: {"--help", "-h"}.union(
            *(option for each in command.params for option in (each.opts, each.secondary_opts))
        )
        for name, command in commands.items()
    }


@cache
def programs() -> dict[str, dict[str, set[str]]]:
    printed = subprocess.run(
        [sys.executable, "-m", "gossip_counter.node", "--help"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    node = {"": set(re.findall(r"(?<!\S)\[?(--?[a-z][a-z-]*)", printed.split("examples:")[0]))}
    return {"cluster": options_of(cluster_app), "bench": options_of(bench_app), "counter-node": node}


def unknown_options(span: str) -> Iterator[str]:
    """What a code span asks of our commands and they do not know."""
    word, *rest = span.split()
    used = re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", span)
    if word.startswith("--"):
        known = set[str]().union(*(options for program in programs().values() for options in program.values()))
        yield from (option for option in used if option not in known)
    elif word in programs():
        commands = programs()[word]
        command = rest[0] if rest and rest[0] in commands else ""
        if word != "counter-node" and rest and not command and rest[0].isalpha():
            yield rest[0]
        yield from (option for option in used if option not in commands[command])


@pytest.mark.parametrize("document", ALL, ids=by_path)
def test_commands_and_options_that_are_named_exist(document: Path) -> None:
    text = document.read_text().split("**If you used a development version**")[0]
    unknown = {span: found for span in code(text) if (found := list(unknown_options(span)))}
    assert not unknown


def test_every_command_and_option_is_documented() -> None:
    text = section(OPERATIONS, "All commands and options")
    for program, commands in programs().items():
        spans = " ".join(code(text))
        for command, options in commands.items():
            assert not command or f"{program} {command}" in spans
            if program != "bench":
                assert {each for each in options if each.startswith("--")} - set(re.findall(r"--[a-z-]+", spans)) <= {
                    "--install-completion", "--show-completion"
                }, command  # fmt: skip


# Figures of the code.


def test_every_field_of_the_status_and_every_metric_is_documented() -> None:
    status = code(section(ROOT / "docs" / "protocol.md", "Status"))
    shown = {field.name for field in fields(GossipStatusOk)} - {"in_reply_to", "stats"}
    assert shown <= set(status)
    metrics = set(code(section(OPERATIONS, "Metrics")))
    assert {field.name for field in fields(Stats)} <= metrics


def test_every_redis_command_is_documented() -> None:
    documented = code(section(ROOT / "docs" / "redis.md", "Commands"))
    assert {name.decode() for name in COMMANDS} <= set(documented)


def test_every_library_that_is_tested_is_named_with_its_version() -> None:
    named = set(re.findall(r"^\| (\S+ [\d.]+) \|", section(ROOT / "docs" / "redis.md", "Libraries"), re.M))
    pins = dict(re.findall(r"^(.+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for_python = project["optional-dependencies"]["compat"]
    for_node = json.loads((ROOT / "tests" / "node" / "package.json").read_text())["dependencies"]
    tested = {f"{'redis-py' if name == 'redis' else name} {pins[name]}" for name in for_python}
    tested |= {f"{'node-redis' if name == 'redis' else name} {version}" for name, version in for_node.items()}
    assert named == tested


def test_the_changelog_tells_of_this_version_first() -> None:
    first, *_, oldest = found = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    released = [each.split()[0] for each in found if re.fullmatch(r"\S+ \(\d{4}-\d\d-\d\d\)", each)]
    assert oldest.split()[0] in released
    assert (first == "Unreleased" and __version__ not in released) or released[0] == __version__


def test_the_licence_is_that_of_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "urls" not in project
