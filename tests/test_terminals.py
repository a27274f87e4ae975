"""Claim: no encoding, locale or terminal makes a command fail, and every file is UTF-8."""

import io
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from gossip_counter.bench import cli as bench
from gossip_counter.cluster import cli
from gossip_counter.cluster.dashboard import table
from gossip_counter.cluster.monitor import NodeView, Snapshot
from gossip_counter.node import encodings, members
from gossip_counter.node.__main__ import main as counter_node
from tests.support.commands import Commands
from tests.support.waiting import LIMIT_S

ENCODINGS = ["ascii", "latin-1", "cp1252", "utf-8"]
NAME = "zähler ✓"

Runs = Callable[..., tuple[int, str]]
"""A command's exit code, and what it writes on stdout."""


@pytest.fixture
def no_handlers_left() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=ENCODINGS)
def runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs a command of this project in a terminal of one of these encodings, which raises for what it can't hold."""

    def run(main: Callable[[], None], *words: str) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=request.param) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *words])
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as ended:
                main()
            for stream in streams:
                stream.flush()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return code, streams[0].buffer.getvalue().decode(request.param, "replace")

    return run


def test_commands_on_a_cluster(cluster: Commands, runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster.up(1)
    monkeypatch.setenv("COUNTER_DIR", str(cluster.directory))
    code, shown = runs(cli.main, "add", "5", "--counter", NAME)
    assert (code, shown[:18]) == (0, "n1 counted +5 in z")
    assert runs(cli.main, "read", "--counter", NAME) == (0, "5\n")
    code, shown = runs(cli.main, "status", "--counter", NAME, "--svg", str(tmp_path / "x.svg"))
    assert (code, "agreed on z" in shown, "level" in shown) == (0, True, True)
    assert "zähler" in (tmp_path / "x.svg").read_text(encoding="utf-8")
    code, shown = runs(cli.main, "counters")
    assert (code, shown[:4]) == (0, "5  z")
    assert runs(cli.main, "logs", "n1")[0] == 0
    assert runs(cli.main, "kill", "nö✗") == (1, "")


@pytest.mark.parametrize("main", [cli.main, bench.main])
def test_help(runs: Runs, main: Callable[[], None]) -> None:
    code, shown = runs(main, "--help")
    assert (code, "Usage" in shown) == (0, True)


@pytest.mark.parametrize("module", [cli, bench])
def test_output_of_any_kind(runs: Runs, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        print("\N{MINUS SIGN} \N{MICRO SIGN} \N{BOX DRAWINGS HEAVY HORIZONTAL} \udcff")  # noqa: T201
        sys.exit()

    monkeypatch.setattr(module, "app", app)
    assert runs(module.main)[0] == 0


def test_a_node(runs: Runs, no_handlers_left: None, tmp_path: Path) -> None:
    for words in (("--help",), ("--name", "zähler", "--bind", "127.0.0.1:0", "--members", str(tmp_path / "✗"))):
        code, _ = runs(counter_node, *words)
        assert code == (0 if words == ("--help",) else 2)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_are_drawn_with_what_a_terminal_has(encoding: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    dead = NodeView("n1", 1, "dead", "127.0.0.1:7101")
    for width in (10, 40, 80, 200):
        Console(file=file, width=width).print(table(Snapshot([dead]), width, 24))
    file.flush()


# Names and files.


def test_a_name_that_the_locale_could_not_decode_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    as_ascii = NAME.encode().decode("ascii", "surrogateescape")
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    assert encodings.name(as_ascii) == NAME
    assert encodings.name(NAME) == NAME
    assert encodings.name("likes") == "likes"
    assert encodings.name("\udcff") == "\udcff", "no UTF-8 either: the bounds on names refuse it"
    assert members.peer(f"{as_ascii}=h:1") == (NAME, ("h", 1))


def in_c_locale(program: str, *arguments: str) -> str:
    """What a program prints where the locale's encoding is ASCII."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", f"import locale, sys; assert 'utf' not in locale.getencoding().lower(); {program}"]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_members_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    file = tmp_path / "members.toml"
    file.write_text('cluster = "zähler"\n[members]\n"ä" = "127.0.0.1:7301"\n', encoding="utf-8")
    program = (
        "from pathlib import Path; from gossip_counter.node.members import read; print(ascii(read(Path(sys.argv[1]))))"
    )
    shown = in_c_locale(program, str(file))
    assert ascii("zähler") in shown
    assert ascii("ä") in shown


def test_a_log_that_is_no_terminal_is_utf_8() -> None:
    program = (
        "import io; from gossip_counter.node.encodings import log_in_utf8, tolerate_any_encoding;"
        " tolerate_any_encoding(); sys.stderr.flush(); log_in_utf8(); print(sys.stderr.encoding, sys.stdout.errors)"
    )
    assert in_c_locale(program) == "utf-8 replace\n"


def test_a_foreground_cluster_in_a_terminal_that_is_not_utf_8_stays_up(cluster: Commands) -> None:
    ours, theirs = pty.openpty()
    cluster.environment |= {"COLUMNS": "80", "LINES": "24", "TERM": "xterm", "PYTHONIOENCODING": "latin-1"}
    with cluster.popen("up", "-n2", "--base-port=0", stdin=theirs, stdout=theirs, stderr=theirs) as launcher:
        os.close(theirs)
        shown = b""
        while b"2 of 2 nodes up, agreed on 0" not in shown:
            shown += os.read(ours, 65_536)
        assert cluster.status()["agreed"]
        launcher.send_signal(signal.SIGINT)
        with suppress(OSError):  # the end of a terminal's output is an error
            while os.read(ours, 65_536):
                pass
        assert launcher.wait(LIMIT_S) == 0
    os.close(ours)


def test_a_width_of_zero_is_none(cluster: Commands) -> None:
    cluster.up(1, "--ephemeral")
    cluster.environment["COLUMNS"] = "0"
    with cluster.popen("status") as status:
        stdout, _ = status.communicate()
    assert "1 of 1 nodes up, agreed on 0" in stdout


def test_an_output_that_is_closed_early_is_one_line(cluster: Commands) -> None:
    cluster.up(1, "--ephemeral")
    reader, writer = os.pipe()
    os.close(reader)
    with cluster.popen("status", "--json", stdout=writer) as status:
        os.close(writer)
        _, stderr = status.communicate()
    assert (status.returncode, stderr) == (1, "cluster: the output was closed before all of it was written\n")
