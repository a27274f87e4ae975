"""Claim: `counter-node` refuses options that make no sense, in one line that says what to change."""

from pathlib import Path

import pytest

from tests.support.commands import node_refuses


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "--name"),
        (["--name=n1"], "--bind"),
        (["--name=n1", "--bind=nowhere"], "HOST:PORT"),
        (["--name=n1", "--bind=127.0.0.1:70000"], "HOST:PORT"),
        (["--name=n1", "--bind=127.0.0.1:0", "--peer=n2"], "NAME=HOST:PORT"),
        (["--name=n1", "--bind=127.0.0.1:0", "--peer=n1=127.0.0.1:7"], "own peer"),
        (["--name=n1", "--bind=127.0.0.1:0", "--peer=n2=127.0.0.1:7", "--peer=n2=127.0.0.1:8"], "same name"),
        (["--name=n1", "--interval-ms=0"], "--interval-ms: '0' is not from 1 to 3600000"),
        (["--name=n1", "--fanout=x"], "--fanout: 'x' is no whole number"),
        (["--name=n1", "--bind=127.0.0.1:0", "--gossip=full", "--push"], "--push is for delta gossip only"),
        (["--name=n1", "--bind=127.0.0.1:0", "--faults", "--fault-cut=n9"], "--fault-cut n9: there is no such peer"),
        (["--name=n1", "--bind=127.0.0.1:0", "--members=/no/such/file"], "/no/such/file"),
        (["--name=n1", "--bind=203.0.113.7:7000"], "can't bind"),
        (["--stdio", "--name=n1"], "--stdio"),
        (["--stdio", "--faults"], "--faults"),
        (["--name=n1", "--bind=127.0.0.1:0", "--peer=n2=127.0.0.1:0"], "port 0"),
        (["--name=n1", "--bind=127.0.0.1:0", "--fault-loss=0.5"], "--faults"),
        (["--name=n1", "--bind=127.0.0.1:0", "--faults", "--fault-loss=1.5"], "--fault-loss: '1.5' is not from 0 to 1"),
        (["--name=n1", "--seed=x"], "--seed: 'x' is no whole number"),
        (["--name=n1", "--bind=127.0.0.1:0", "--gossip=loud"], "--gossip"),
    ],
    ids=repr,
)
def test_wrong_options_are_one_line_and_exit_code_2(arguments: list[str], error: str) -> None:
    (line,) = node_refuses(*arguments).splitlines()
    assert error in line


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('clustr = "likes"\n[members]\nn1 = "127.0.0.1:0"', "there is no 'clustr'"),
        ('[members]\nn1 = "127.0.0.1:0"', "nobody can be reached at port 0"),
        ('[members]\nn1 = "127.0.0.1:7001"\nn2 = "127.0.0.1:7001"', "two members have the same address"),
        ("[members]\nn1 = 5", "is not HOST:PORT"),
    ],
)
def test_a_wrong_members_file_is_one_line_and_exit_code_2(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "members.toml").write_text(text)
    (line,) = node_refuses("--name=n1", f"--members={tmp_path / 'members.toml'}", "--ephemeral").splitlines()
    assert error in line
