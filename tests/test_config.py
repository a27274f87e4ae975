"""Settings are checked when made, and the options of `counter-node` follow from them."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gossip_counter.node import members, settings
from gossip_counter.node.core.config import BOUNDS, HELP, Config
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.runtime.node import Listeners
from gossip_counter.node.storage import key_file
from tests.support.sealing import ring


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": bad} for bad in ("", "n" * 256, "\ud800", 5)),
        *({"cluster": bad} for bad in ("", "n" * 256)),
        *({"gossip_interval_ms": bad} for bad in (0, -1, 3_600_001, 1.5, True)),
        *({setting: bad} for setting, (low, high) in BOUNDS.items() for bad in (low - 1, high + 1)),
        *({"peers": bad} for bad in (("n1",), ("n2", "n2"), ("",))),
        {"gossip": "loud"},
    ],
    ids=repr,
)
def test_a_setting_out_of_bounds_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Config(**{"name": "n1"} | wrong)


def test_bounds_themselves_are_allowed() -> None:
    for end in (0, 1):
        Config(name="n1", **{setting: both[end] for setting, both in BOUNDS.items()})  # type: ignore[arg-type]


def test_defaults_are_the_seeds() -> None:
    config = Config(name="n1")
    assert (config.gossip_interval_ms, config.gossip_fanout) == (100, 2)


def test_each_setting_says_what_it_means() -> None:
    assert list(HELP) == [field.name for field in fields(Config)]
    assert all(HELP.values())


def parsed(*arguments: str) -> argparse.Namespace:
    return settings.parser().parse_args(["--name=n1", "--bind=127.0.0.1:0", *arguments])


def of(*arguments: str) -> settings.Settings:
    return settings.of_udp_node(parsed(*arguments), Random(1))


def test_without_options_a_node_has_the_defaults() -> None:
    assert of() == settings.Settings(
        Config(name="n1"), ("127.0.0.1", 0), {}, Path("counter-data/n1"), None, Listeners(), None
    )


def test_options_set_the_fields_of_the_config() -> None:
    chosen = of(
        *("--cluster-name=likes", "--interval-ms=5", "--fanout=0", "--datagram-bytes=512", "--max-rows=7"),
        *("--gossip=full", "--no-push", "--peer=n2=h:1", "--peer=n3=[::1]:2"),
    )
    assert chosen.config == Config(
        name="n1",
        peers=("n2", "n3"),
        cluster="likes",
        gossip_interval_ms=5,
        gossip_fanout=0,
        datagram_bytes=512,
        max_rows=7,
        gossip="full",
        push=False,
    )
    assert chosen.peers == {"n2": ("h", 1), "n3": ("::1", 2)}


def test_help_shows_the_texts_and_bounds_of_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parser().parse_args(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"--interval-ms MS {HELP['gossip_interval_ms']}: 1 to 3600000 (default: 100)" in shown
    assert "(default: that in the members file, or 'counter')" in shown


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (["--data=d"], Path("d")),
        (["--ephemeral"], None),
        (["--name=a/b"], Path("counter-data/a%2Fb")),
    ],
)
def test_where_the_journal_is(arguments: list[str], data: Path | None) -> None:
    assert of(*arguments).data == data


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--name="], "say --name n1, or --stdio"),
        (["--data="], "--data needs the name of a directory"),
        (["--name=.."], "no directory can be named after '..'"),
        (["--gossip=full", "--push"], "--push is for delta gossip only"),
        (["--peer=n1=h:1"], "n1 can't be its own peer"),
        (["--peer=n2=h:1", "--peer=n2=h:2"], "two peers have the same name"),
        (["--fault-loss=0.5"], "say --faults too"),
        (["--faults", "--fault-cut=n9"], "--fault-cut n9: there is no such peer, as there are no peers"),
        (["--bind=0.0.0.0:1"], "say --keys FILE ('cluster keys new FILE' makes one), or --insecure"),
        (["--bind=[::]:1"], "--bind :::1 can be reached from elsewhere, and without keys anybody there can"),
        (["--keys=none", "--insecure"], "--insecure is for nodes without keys"),
        (["--keys=none"], "there is no file of keys none: 'cluster keys new none' makes one"),
        (["--resp=0.0.0.0:1"], "say --resp-password-file FILE too"),
        (["--resp-tls-key=k"], "say --resp HOST:PORT too"),
        (["--resp=localhost:1", "--resp-tls-key=k"], "both --resp-tls-cert and --resp-tls-key"),
    ],
    ids=repr,
)
def test_options_that_contradict_each_other_are_refused(arguments: Sequence[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(*arguments)
    assert text in str(caught.value)


def test_off_loopback_a_node_runs_with_keys_or_when_it_is_told_that_it_is_insecure(tmp_path: Path) -> None:
    key_file.write(tmp_path / "keys", ring(1), is_new=True)
    assert of("--bind=0.0.0.0:1", "--insecure").keys is None
    keys = of("--bind=0.0.0.0:1", f"--keys={tmp_path}/keys").keys
    assert keys is not None
    assert keys.ring == ring(1)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--interval-ms=0", "--interval-ms: '0' is not from 1 to 3600000"),
        ("--fanout=x", "--fanout: 'x' is no whole number"),
        ("--fault-loss=nan", "--fault-loss: 'nan' is not from 0 to 1"),
        ("--bind=h", "'h' is not HOST:PORT with a port from 0 to 65535"),
        ("--bind=[::1:0", "'[::1:0' is not HOST:PORT with a port from 0 to 65535"),
        ("--bind=[]:0", "'[]:0' is not HOST:PORT with a port from 0 to 65535"),
        ("--bind=h:65536", "'h:65536' is not HOST:PORT with a port from 0 to 65535"),
        ("--peer=n2", "'n2' is not NAME=HOST:PORT"),
        ("--peer=n2=h:0", "'h:0': nobody can be reached at port 0"),
        ("--gossip=loud", "--gossip: invalid choice"),
    ],
)
def test_an_option_with_a_bad_value_ends_with_status_2_and_one_line(
    argument: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(argument)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("counter-node: argument ")
    assert text in line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--name", "n1"), ("--bind", "h:1"), ("--peer", "n2=h:1"), ("--members", "f"), ("--data", "d")),
        *(("--resp", "h:1"), ("--metrics", "h:1"), ("--fault-loss", "0.5"), ("--fault-cut", "n2")),
        *(("--resp-password-file", "f"), ("--resp-tls-cert", "f"), ("--ephemeral", None), ("--faults", None)),
    ],
)
def test_what_has_no_meaning_with_stdio_is_refused(option: str, value: str | None) -> None:
    options = settings.parser().parse_args(["--stdio", f"{option}={value}" if value else option])
    with pytest.raises(ConfigError, match=f"with --stdio .*: leave out .*{option[:7]}"):
        settings.of_stdio_node(options)


def test_stdio_takes_the_settings_of_gossip() -> None:
    options = settings.parser().parse_args(["--stdio", "--interval-ms=9", "--fanout=1"])
    assert settings.of_stdio_node(options) == Config(name="stdio", gossip_interval_ms=9, gossip_fanout=1)


def test_a_members_file_names_cluster_and_addresses(tmp_path: Path) -> None:
    file = tmp_path / "members.toml"
    file.write_text('cluster = "likes"\n[members]\nn1 = "10.0.0.1:7100"\nn2 = "[::1]:7101"\n')
    chosen = settings.of_udp_node(settings.parser().parse_args(["--name=n2", f"--members={file}"]), Random(1))
    assert (chosen.config.cluster, chosen.bind) == ("likes", ("::1", 7101))
    assert chosen.peers == {"n1": ("10.0.0.1", 7100)}
    assert of(f"--members={file}", "--cluster-name=views", "--peer=n3=h:1").config == Config(
        name="n1", cluster="views", peers=("n2", "n3")
    )
    with pytest.raises(ConfigError, match="same name"):
        of(f"--members={file}", "--peer=n2=h:1")
    with pytest.raises(ConfigError, match="say --bind HOST:PORT, or list n9 in the --members file"):
        settings.of_udp_node(settings.parser().parse_args(["--name=n9", f"--members={file}"]), Random(1))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"members = 5", r'[members] must be a table of NAME = "HOST:PORT"'),
        (b"cluster = 5", 'the cluster\'s name must be in quotes, as in cluster = "likes"'),
        (b'cluster = ["likes"]', "the cluster's name must be in quotes"),
        (b"nodes = 5", "there is no 'nodes', only cluster and [members]"),
        (b'[members]\nn1 = "h"', "'h' is not HOST:PORT"),
        (b'[members]\nn1 = "h:0"', "nobody can be reached at port 0"),
        (b'[members]\nn1 = "h:1"\nn2 = "h:1"', "two members have the same address"),
        (b"[members", "Expected"),
        (b"\xff", "is not UTF-8: save it as UTF-8"),
    ],
)
def test_a_bad_members_file_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    file = tmp_path / "members.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        members.read(file)
    assert str(file) in str(caught.value)
    assert text in str(caught.value)


def test_a_members_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*: No such file or directory"):
        members.read(tmp_path / "none")
