"""The house keeps its shape: imports run one way, pure files stay pure, functions stay short."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("node", "cluster", "bench", "tests") for path in (ROOT / folder).rglob("*.py"))
MAY_IMPORT = {
    "node": {"node"},
    "cluster": {"cluster", "node"},
    "bench": {"bench", "cluster", "node"},
    "tests": {"tests", "bench", "cluster", "node"},
}
PURE = {
    "redis_adds",
    "commands",
    "counter",
    "state",
    "gossip",
    "messages",
    "requests",
    "replica",
    "peers",
    "redis_wire",
    "wire",
    "limits",
    "batch",
    "config",
    "errors",
    "stats",
    "token",
    "waiting",
}
IMPURE_MODULES = {"asyncio", "logging", "os", "pathlib", "secrets", "select", "signal", "socket", "subprocess", "sys",
                  "threading", "time", "uuid", "psutil", "sqlite3"}  # fmt: skip
LONGEST = 60


def imports(path: Path) -> Iterator[str]:
    for each in ast.walk(ast.parse(path.read_text())):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            yield from (f"{each.module}.{alias.name}" for alias in each.names)


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_imports_run_one_way(path: Path) -> None:
    house = path.relative_to(ROOT).parts[0]
    assert {name.split(".")[0] for name in imports(path)} & set(MAY_IMPORT) <= MAY_IMPORT[house]


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_files_know_no_clock_socket_or_world(name: str) -> None:
    for imported in imports(ROOT / "node" / f"{name}.py"):
        first, *rest = imported.split(".")
        assert first not in IMPURE_MODULES
        assert imported in {"random.Random"} or first != "random", "randomness is passed in"
        assert first != "node" or rest[0] in PURE, "the core imports no world"


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_functions_are_short(path: Path) -> None:
    for each in ast.walk(ast.parse(path.read_text())):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            assert each.end_lineno is not None
            assert each.end_lineno - each.lineno < LONGEST, f"{each.name} is too long"


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [each for extra in project["optional-dependencies"].values() for each in extra]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line and "/" not in line and "@" not in line for line in lines)
    pinned = {line.split("==")[0].lower() for line in lines}
    assert {each.split(">")[0].split("=")[0].lower() for each in wanted} <= pinned
