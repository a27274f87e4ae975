"""Claim: a signal ends a process cleanly whenever it comes, and one that was ignored at the start stays ignored."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.processes import node_process
from tests.support.waiting import LIMIT_S, until

NODE = ("--name=n1", "--bind=127.0.0.1:0", "--ephemeral")


def signals_of(pid: int, kind: str) -> set[int]:
    """The signals that a process catches (`SigCgt`) or ignores (`SigIgn`)."""
    text = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line.split()[1] for line in text.splitlines() if line.startswith(kind)), 16)
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows which signals a process catches")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_has_only_just_begun_ends_cleanly(number: signal.Signals) -> None:
    with node_process(*NODE) as node:
        until(lambda: number in signals_of(node.pid, "SigCgt"))  # long before it has imported everything
        node.send_signal(number)
        stdout, stderr = node.communicate(timeout=LIMIT_S)
    assert (node.returncode, stdout, stderr) == (0, "", "")


def test_signals_that_follow_the_first_do_not_make_a_node_fail() -> None:
    with node_process(*NODE) as node:
        assert node.stderr
        assert "listens" in node.stderr.readline()
        while node.poll() is None:
            node.terminate()
        assert node.stderr.read().splitlines()[-1].endswith("stopped")
    assert node.returncode == 0


def test_handlers_come_before_slow_imports() -> None:
    for house in ("node", "cluster", "bench"):
        program = f"import sys, gossip_counter.{house}.__main__; print(len(sys.modules))"
        done = subprocess.run([sys.executable, "-Sc", f"import sys; sys.path = {sys.path}; {program}"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert int(done.stdout) < 120, house


def test_what_nohup_ignores_stays_ignored(cluster: Commands) -> None:
    def hangups_ignored() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with cluster.popen("up", "-n1", "--base-port=0", preexec_fn=hangups_ignored) as launcher:
        assert launcher.stdout
        assert "1 node up" in launcher.stdout.readline()
        for pid in (launcher.pid, *cluster.pids()):
            os.kill(pid, signal.SIGHUP)
        assert launcher.stdout.readline() == "1 of 1 nodes up, agreed on 0\n"
        cluster.ok("add", "5")
        assert launcher.stdout.readline() == "1 of 1 nodes up, agreed on 5\n"
        launcher.terminate()
        launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 0


BEGINS = """\
import os, signal, sys
def find(name, *_):
    if name.startswith({imported!r}):
        os.kill(os.getpid(), signal.SIGINT)
def from_now_on():
    sys.meta_path.insert(0, type("Finder", (), dict(find_spec=staticmethod(find))))
{begin}
"""
"""A program that gets SIGINT when something is imported."""


@pytest.mark.parametrize("house", ["cluster", "bench"])
@pytest.mark.parametrize(
    ("imported", "begin"),
    [
        ("gossip_counter.node.runtime.signals", "from_now_on(); import gossip_counter.{house}.__main__"),
        ("", "from gossip_counter.{house} import __main__ as command; from_now_on(); command.main()"),
    ],
    ids=["before there are handlers", "with handlers"],
)
def test_a_command_that_has_only_just_begun_ends_with_the_signals_code(house: str, imported: str, begin: str) -> None:
    with node_process(program=BEGINS.format(imported=imported, begin=begin.format(house=house))) as running:
        _, stderr = running.communicate(timeout=LIMIT_S)
    assert (running.returncode, stderr) == (130, "")
