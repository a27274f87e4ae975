"""Claim: imports run one way, purity is a property of a folder, and functions and files stay short."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("node", "cluster", "bench", "tests") for path in (ROOT / folder).rglob("*.py"))
MAY_IMPORT = {
    "tests": {"tests", "bench", "cluster", "node"},
    "bench": {"bench", "cluster", "node"},
    "cluster": {"cluster", "node"},
    "node": {"node"},
}
LAYERS = {
    "core": {"core"},
    "codec": {"codec", "core"},
    "security": {"security", "core"},
    "storage": {"storage", "security", "codec", "core"},
    "endpoints": {"endpoints", "security", "codec", "core"},
    "runtime": {"runtime", "endpoints", "storage", "security", "codec", "core"},
}
"""By folder of `node`, the folders that it may import. What lies in `node` itself starts a node and may import all."""
PURE = {"core", "codec", "security"}
IMPURE_MODULES = {"asyncio", "logging", "os", "pathlib", "secrets", "select", "signal", "socket", "ssl", "subprocess",
                  "sys", "threading", "time", "uuid", "psutil", "sqlite3"}  # fmt: skip
MAX_FUNCTION_LINES = 50
MEDIAN_FUNCTION_LINES = 10
MAX_FILE_LINES = 400


def imports(path: Path) -> Iterator[list[str]]:
    """Dotted names, split, without the package's own."""
    for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(each, ast.Import):
            names = [alias.name for alias in each.names]
        elif isinstance(each, ast.ImportFrom):
            assert each.level == 0, "imports are absolute"
            names = [f"{each.module}.{alias.name}" for alias in each.names]
        yield from (name.removeprefix("gossip_counter.").split(".") for name in names)


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(path: Path) -> str:
    house, *inside = path.relative_to(ROOT).parts
    return inside[0] if house == "node" and len(inside) > 1 else ""


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_imports_run_one_way(path: Path) -> None:
    house = path.relative_to(ROOT).parts[0]
    assert {first for first, *_ in imports(path)} & set(MAY_IMPORT) <= MAY_IMPORT[house]


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path)], ids=by_path)
def test_each_layer_imports_only_those_below_it(path: Path) -> None:
    used = {rest[0] for first, *rest in imports(path) if first == "node" and rest}
    assert used <= LAYERS[layer_of(path)]


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) in PURE], ids=by_path)
def test_pure_layers_know_no_clock_socket_disk_or_randomness(path: Path) -> None:
    for first, *rest in imports(path):
        assert first not in IMPURE_MODULES
        assert first != "random" or rest == ["Random"], "randomness is passed in"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Names and lengths in lines, without decorators."""
    for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            assert each.end_lineno is not None
            yield each.name, each.end_lineno - each.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_functions_and_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    assert {name: lines for name, lines in functions(path) if lines > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("house", ["node", "cluster", "bench"])
def test_most_functions_are_a_few_lines(house: str) -> None:
    lengths = [lines for path in (ROOT / house).rglob("*.py") for _, lines in functions(path)]
    assert median(lengths) < MEDIAN_FUNCTION_LINES


def is_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call opens, reads or writes text in whatever encoding the locale has."""
    given = {each.arg for each in call.keywords}
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return "encoding" not in given
        case ast.Name(id="open") | ast.Attribute(attr="open"):
            module = call.func.value if isinstance(call.func, ast.Attribute) else None
            if isinstance(module, ast.Name) and module.id in {"os", "tarfile"}:
                return False
            constants = [str(each.value) for each in ast.walk(call) if isinstance(each, ast.Constant)]
            return "encoding" not in given and not any(re.fullmatch(r"[rwax]\+?b\+?", each) for each in constants)
        case ast.Attribute(attr="run" | "Popen" | "check_output"):
            return bool({"text", "universal_newlines"} & given) and "encoding" not in given
    return False


@pytest.mark.parametrize("path", [path for path in FILES if "tests" not in path.relative_to(ROOT).parts], ids=by_path)
def test_files_are_utf_8_whatever_the_locale(path: Path) -> None:
    calls = [each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)]
    assert [each.lineno for each in calls if is_text_without_encoding(each)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=by_path)
def test_no_test_imports_another(path: Path) -> None:
    """What tests share is in `tests.support`."""
    assert {rest[0] for first, *rest in imports(path) if first == "tests"} <= {"support"}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [each for extra in project["optional-dependencies"].values() for each in extra]
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert all("==" in line and "/" not in line and "@" not in line for line in lines)
    pinned = {line.split("==")[0].lower() for line in lines}
    assert {each.split(">")[0].split("=")[0].lower() for each in wanted} <= pinned
