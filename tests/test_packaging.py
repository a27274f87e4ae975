"""What is installed is one package and three commands, from a wheel as well as from a source distribution."""

import os
import shutil
import subprocess
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from gossip_counter import __version__

ROOT = Path(__file__).parent.parent
SOURCES = ("node", "cluster", "bench", "src", "pyproject.toml", "README.md", "LICENSE")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


class Environment:
    """A fresh virtual environment."""

    def __init__(self, directory: Path) -> None:
        venv.create(directory, with_pip=True)
        self.bin = directory / "bin"

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment") / "venv")
    made.run("pip", "install", "--quiet", *PROJECT["build-system"]["requires"])
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources in a directory of their own: builds leave files behind."""
    copied = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copied / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, copied / name)
    return copied


@pytest.fixture(scope="module")
def sdist(fresh: Environment, tree: Path) -> Path:
    program = "import setuptools.build_meta as backend; backend.build_sdist('dist')"
    fresh.run("python", "-c", program, cwd=tree)
    (built,) = (tree / "dist").glob("*.tar.gz")
    return built


def wheel_of(source: Path, fresh: Environment, directory: Path) -> Path:
    fresh.run("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(directory), str(source))
    (built,) = directory.glob("*.whl")
    return built


def modules(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def expected_modules() -> set[str]:
    sources = {path for house in ("node", "cluster", "bench") for path in (ROOT / house).rglob("*.py")}
    sources.add(ROOT / "cluster" / "grafana.json")
    return {"gossip_counter/__init__.py", "gossip_counter/py.typed"} | {
        f"gossip_counter/{path.relative_to(ROOT)}" for path in sources
    }


def test_a_wheel_holds_the_one_package_and_the_licence(fresh: Environment, tree: Path, tmp_path: Path) -> None:
    built = wheel_of(tree, fresh, tmp_path)
    assert modules(built) == expected_modules()
    with zipfile.ZipFile(built) as opened:
        assert any(name.endswith("/licenses/LICENSE") for name in opened.namelist())


def test_a_source_distribution_builds_the_same_wheel(sdist: Path, fresh: Environment, tmp_path: Path) -> None:
    with tarfile.open(sdist) as opened:
        assert not any(member.issym() or member.islnk() for member in opened), "links break where they are not known"
    assert modules(wheel_of(sdist, fresh, tmp_path)) == expected_modules()


def test_an_installation_has_three_commands_and_no_other_package(
    sdist: Path, fresh: Environment, tmp_path: Path
) -> None:
    fresh.run("pip", "install", "--quiet", "--no-deps", str(wheel_of(sdist, fresh, tmp_path)))
    listed = fresh.run("pip", "show", "--files", "gossip-counter").split("Files:")[1].split()
    commands = {"../../../bin/cluster", "../../../bin/bench", "../../../bin/counter-node"}
    assert {name for name in listed if name.startswith("..")} == commands
    assert {name.split("/")[0] for name in listed if not name.startswith("..")} == {
        "gossip_counter",
        f"gossip_counter-{__version__}.dist-info",
    }
    dependencies = sysconfig.get_path("purelib")  # ours, in which this package is only a .pth file, not read from there
    for command in ("cluster", "bench", "counter-node"):
        printed = fresh.run(command, "--version", cwd=tmp_path, PYTHONPATH=dependencies)
        assert printed.strip() == f"{command} {__version__}"
    program = "from gossip_counter.cluster.client import Client; print(Client.__module__)"
    assert "client" in fresh.run("python", "-c", program, cwd=tmp_path, PYTHONPATH=dependencies)
