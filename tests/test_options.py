"""Claim: `counter-node` refuses options that make no sense, in one line that says what to change."""

import resource
from pathlib import Path

import pytest

from gossip_counter.node.endpoints.redis.server import OTHER_FILES
from tests.support.commands import node_refuses

N1 = ["--name=n1", "--bind=127.0.0.1:0", "--ephemeral"]


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
        (["--name=n1", "--bind=203.0.113.7:7000", "--insecure"], "can't bind"),
        (["--name=n1", "--bind=[2001:db8::7]:7000", "--insecure"], "can't bind [2001:db8::7]:7000: "),
        ([*N1, "--metrics=[2001:db8::7]:7000"], "can't serve metrics at [2001:db8::7]:7000: "),
        (["--stdio", "--name=n1"], "--stdio"),
        (["--stdio", "--faults"], "--faults"),
        (["--name=n1", "--bind=127.0.0.1:0", "--peer=n2=127.0.0.1:0"], "port 0"),
        (["--name=n1", "--bind=127.0.0.1:0", "--fault-loss=0.5"], "--faults"),
        (["--name=n1", "--bind=127.0.0.1:0", "--faults", "--fault-loss=1.5"], "--fault-loss: '1.5' is not from 0 to 1"),
        (["--name=n1", "--seed=x"], "--seed: 'x' is no whole number"),
        (["--name=n1", "--bind=127.0.0.1:0", "--gossip=loud"], "--gossip"),
        ([*N1, "--cluster-name="], "cluster must not be empty"),
        ([*N1, "--cluster-name=n\udcff"], "this one has a lone surrogate"),
        (["--name=n\udcff", "--bind=127.0.0.1:0"], "this one has a lone surrogate"),
        ([*N1, "--peer=n\udcff=127.0.0.1:1"], "this one has a lone surrogate"),
        (["--name=" + "n" * 256, "--bind=127.0.0.1:0"], "name must be at most 255 bytes of UTF-8, not 256"),
        (["--name=n1", "--ephemeral", "--insecure", "--bind=" + "a" * 64 + ":1"], "that can't be the name of a host"),
        (["--name=n1", "--ephemeral", "--insecure", "--bind=..:1"], "that can't be the name of a host"),
        (
            ["--name=n1", "--ephemeral", "--insecure", "--bind=h\udcff:1"],
            "h\\udcff:1: that can't be the name of a host",
        ),
        (["--name=n1", "--ephemeral", "--insecure", "--bind=h\n:1"], "h\\n:1: "),
        ([*N1, "--metrics=..:1"], "can't serve metrics at ..:1: Name or service not known"),
        ([*N1, "--resp=203.0.113.7:0"], "say --resp-password-file FILE too"),
        ([*N1, "--metrics=203.0.113.7:0"], "this machine does not have it"),
        ([*N1, "--resp-password-file=x"], "say --resp HOST:PORT too"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-password-file=/no/file"], "--resp-password-file names a file"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-password-file=/"], "Is a directory; --resp-password-file names a file"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-password-file=/dev/null"], "write one into it"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-tls-cert=x"], "TLS needs both"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-tls-cert=/dev/null", "--resp-tls-key=/dev/null"], "no PEM files"),
        ([*N1, "--resp=127.0.0.1:0", "--resp-tls-cert=/no", "--resp-tls-key=/no"], "No such file"),
        ([*N1, "--members=/"], "Is a directory; --members names a TOML file"),
        ([*N1, "--members="], "Is a directory; --members names a TOML file"),
        ([*N1, "--members=/dev/null", "--fault-cut=n2", "--faults"], "no such peer, as there are no peers"),
        ([*N1, "--data=x"], "not allowed with argument"),
        (["--name=n1", "--bind=127.0.0.1:0", "--data="], "--data needs the name of a directory"),
        (["--name=n1", "--bind=127.0.0.1:0", "--data=/dev/null"], "is a file"),
        (["--name=n1", "--bind=127.0.0.1:0", "--data=/dev/null/x"], "choose another with --data"),
        (["--name=.", "--bind=127.0.0.1:0"], "no directory can be named after '.'"),
        ([*N1, "--datagram-bytes=100"], "'100' is not from 512 to 65507"),
        ([*N1, "--log-level=loud"], "--log-level"),
        ([*N1, "more"], "unrecognized arguments: more"),
        (["--stdio", "--data=x"], "leave out --data"),
        (["--stdio", "--metrics=127.0.0.1:0"], "leave out --resp, --resp-…, --metrics"),
    ],
    ids=ascii,
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


def test_too_few_open_files_are_one_line_and_exit_code_2() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OTHER_FILES - 1, before[1]))
    try:
        (line,) = node_refuses(*N1).splitlines()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert f"this process may open {OTHER_FILES - 1} files, and a node needs {OTHER_FILES}" in line
    assert line.endswith(": allow more with 'ulimit -n'")
