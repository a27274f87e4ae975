"""Claim: a node on stdin/stdout keeps the seed's cases and Maelstrom's rules, and survives lines that make no sense."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import node_process
from tests.support.waiting import LIMIT_S, until


def line(body: dict[str, Any], src: str = "c1") -> str:
    return json.dumps({"src": src, "dest": "n1", "body": body})


INIT = line({"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1", "n2", "n3"]}, "c0")
READ = line({"type": "read", "msg_id": 90})
INIT_OK = '{"src": "n1", "dest": "c0", "body": {"type": "init_ok", "in_reply_to": 1, "msg_id": 0}}'


def replies_to(given: bytes) -> list[str]:
    """The lines but gossip that a node prints for this input until its clean end."""
    command = [sys.executable, "-m", "gossip_counter.node", "--stdio"]
    done = subprocess.run(command, input=given, capture_output=True, timeout=30, check=True)
    assert b"Traceback" not in done.stderr
    return [each for each in done.stdout.decode().splitlines() if json.loads(each)["body"]["type"] != "replicate"]


def answers(lines: Iterable[str]) -> list[str]:
    return replies_to("".join(f"{each}\n" for each in lines).encode())


def bodies(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(each)["body"] for each in answers(lines)]


def test_seed_case_gossip_replicates_counter_state() -> None:
    replies = answers(
        [INIT, line({"type": "add", "msg_id": 2, "delta": 1}), line({"type": "gossip_status", "msg_id": 3})]
    )
    assert replies[0] == INIT_OK
    assert replies[1] == '{"src": "n1", "dest": "c1", "body": {"type": "add_ok", "in_reply_to": 2, "msg_id": 1}}'
    status = json.loads(replies[2])["body"]
    assert list(status)[:6] == ["type", "in_reply_to", "local_value", "gossip_rounds", "peers_synced", "convergence_ms"]
    assert list(status)[-1] == "msg_id"
    assert (status["local_value"], status["peers_synced"], status["convergence_ms"]) == (1, 0, None)


def test_seed_case_remote_increments_are_visible_after_gossip() -> None:
    replicate = {
        "type": "replicate",
        "msg_id": 2,
        "p_counters": {"n1": 0, "n2": 10},
        "n_counters": {"n1": 0, "n2": 0},
    }
    init = line({"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1", "n2"]}, "c0")
    replies = answers([init, line(replicate, "n2"), line({"type": "read", "msg_id": 3})])
    assert replies == [
        INIT_OK,
        '{"src": "n1", "dest": "c1", "body": {"type": "read_ok", "in_reply_to": 3, "value": 10, "msg_id": 1}}',
    ]


UNANSWERABLE = [
    *("", "   ", "{", "[]", "null", "5", "\x00", '{"src": "c1"}', '{"src": 5, "body": {}}', "[" * 100_000),
    *('{"src": "c1", "body": []}', '{"src": "c1", "body": {}}', "9" * 5000),
    line({"type": "error", "msg_id": 4, "in_reply_to": 2, "code": 10, "text": ""}),
    *(line({"type": "add", "delta": 1}), line({"type": "add", "delta": 1, "msg_id": True})),
    line({"type": "replicate", "p_counters": {"n2": -5}, "n_counters": {}}, "n2"),
]


def test_lines_that_cannot_be_answered_are_survived_and_change_nothing() -> None:
    replies = bodies([INIT, *(each for bad in UNANSWERABLE for each in (bad, READ))])
    assert [each["type"] for each in replies] == ["init_ok", *["read_ok"] * len(UNANSWERABLE)]
    assert {each["value"] for each in replies[1:]} == {0}


def test_bytes_that_are_no_line_of_text_are_survived() -> None:
    bad = b"\xff\xfe\n" + b"\n" * 1000 + b"x" * (17 * 2**20) + b"\n"
    printed = replies_to(INIT.encode() + b"\n" + bad + READ.encode())  # the last line needs no newline
    assert [json.loads(each)["body"]["type"] for each in printed] == ["init_ok", "read_ok"]


BAD_REQUESTS: list[tuple[dict[str, Any], int, str]] = [
    *(({"type": "add", "delta": bad}, 12, "delta") for bad in (None, True, 1.5, "1", 2**63, -(2**63))),
    *(({"type": "read", "counter": bad}, 12, "counter") for bad in (5, None, "n" * 256, "\ud800")),
    ({"type": "add"}, 12, "delta"),
    ({"type": "frobnicate"}, 10, "frobnicate"),
    ({"type": 5}, 12, "type"),
    ({}, 12, "type"),
    ({"type": "replicate", "p_counters": {}}, 12, "n_counters"),
    ({"type": "init", "node_id": "n2", "node_ids": ["n2"]}, 12, "already"),
]


def test_bad_requests_are_answered_with_errors_and_change_nothing() -> None:
    _, *errors, read = bodies([INIT, *(line(body | {"msg_id": 7}) for body, _, _ in BAD_REQUESTS), READ])
    for (body, code, field), error in zip(BAD_REQUESTS, errors, strict=True):
        assert list(error) == ["type", "in_reply_to", "code", "text", "msg_id"]
        assert (error["type"], error["code"], error["in_reply_to"]) == ("error", code, 7), body
        assert field in error["text"]
    assert read["value"] == 0


def test_before_init_everything_is_temporarily_unavailable() -> None:
    lines = answers([READ, INIT, INIT, READ])
    assert json.loads(lines[0])["src"] == "n1"
    replies = [json.loads(each)["body"] for each in lines]
    assert (replies[0]["code"], replies[0]["msg_id"]) == (11, 0)
    assert [each["type"] for each in replies[1:]] == ["init_ok", "init_ok", "read_ok"]


def test_a_bad_init_is_malformed() -> None:
    good: dict[str, Any] = {"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1"]}
    fields: list[dict[str, Any]] = [
        {"node_id": 5},
        {"node_id": ""},
        {"node_ids": "n1"},
        {"node_ids": [1]},
        {"node_ids": None},
    ]
    *errors, ok = bodies([*(line(good | bad) for bad in fields), INIT])
    assert [each["code"] for each in errors] == [12] * len(fields)
    assert ok["type"] == "init_ok"


def test_replies_are_numbered_from_0_and_gossip_is_not() -> None:
    with node_process("--stdio", "--interval-ms=5") as node:
        assert node.stdin
        assert node.stdout
        node.stdin.write(INIT + "\n" + line({"type": "add", "msg_id": 2, "delta": 4}) + "\n")
        node.stdin.flush()
        replies = [json.loads(node.stdout.readline()) for _ in range(12)]
        node.stdin.write(READ + "\n")
        node.stdin.close()
        replies += [json.loads(each) for each in node.stdout]
        assert node.wait(LIMIT_S) == 0
    gossip = [each for each in replies if each["body"]["type"] == "replicate"]
    assert len(gossip) >= 10
    assert {each["dest"] for each in gossip} == {"n2", "n3"}
    assert gossip[0]["body"] == {"type": "replicate", "p_counters": {"n1": 4}, "n_counters": {"n1": 0}}
    assert [each["body"]["msg_id"] for each in replies if each not in gossip] == [0, 1, 2]


def test_named_counters_are_where_other_implementations_do_not_look() -> None:
    with node_process("--stdio", "--interval-ms=5") as node:
        assert node.stdin
        assert node.stdout
        node.stdin.write(INIT + "\n" + line({"type": "add", "msg_id": 2, "delta": -4, "counter": "likes"}) + "\n")
        node.stdin.flush()
        gossip = [json.loads(node.stdout.readline())["body"] for _ in range(3)][-1]
    likes = {"p_counters": {"n1": 0}, "n_counters": {"n1": 4}}
    assert gossip == {"type": "replicate", "p_counters": {}, "n_counters": {}, "counters": {"likes": likes}}


def test_input_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(INIT + "\n" + READ)
    command = [sys.executable, "-m", "gossip_counter.node", "--stdio"]
    with (tmp_path / "lines").open() as lines:
        done = subprocess.run(command, stdin=lines, capture_output=True, text=True, check=True, timeout=30)
    kinds = [json.loads(each)["body"]["type"] for each in done.stdout.splitlines()]
    assert [each for each in kinds if each != "replicate"] == ["init_ok", "read_ok"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: int) -> None:
    with node_process("--stdio") as node:
        assert node.stdin
        assert node.stdout
        assert node.stderr
        node.stdin.write(INIT + "\n")
        node.stdin.flush()
        assert node.stdout.readline().strip() == INIT_OK
        node.send_signal(number)
        assert node.wait(LIMIT_S) == 0
        assert node.stderr.read() == ""


def test_a_reader_that_goes_away_ends_it_cleanly() -> None:
    with node_process("--stdio", "--interval-ms=1") as node:
        assert node.stdin
        assert node.stdout
        assert node.stderr
        node.stdin.write(INIT + "\n")
        node.stdin.flush()
        node.stdout.close()
        assert node.wait(LIMIT_S) == 0
        assert node.stderr.read() == ""


def test_an_output_that_takes_nothing_ends_it_with_a_line() -> None:
    command = [sys.executable, "-m", "gossip_counter.node", "--stdio"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, input=INIT + "\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "counter-node: standard input or output fails: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_input_or_output_is_a_line(closed: str) -> None:
    command = f"'{sys.executable}' -m gossip_counter.node --stdio {closed}"
    done = subprocess.run(["sh", "-c", command], input="", capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert done.stderr == "counter-node: --stdio needs standard input and output, and one of them is closed\n"


class Network:
    """Maelstrom's part between nodes and clients: each line goes to its `dest`."""

    def __init__(self, nodes: dict[str, "subprocess.Popen[str]"]) -> None:
        self._nodes = nodes
        self._next = 0
        for node in nodes.values():
            assert node.stdout

            os.set_blocking(node.stdout.fileno(), False)
        self.answers: dict[int, dict[str, Any]] = {}

    def send(self, name: str, body: dict[str, Any]) -> int:
        self._next += 1
        self._write(name, json.dumps({"src": "c1", "dest": name, "body": body | {"msg_id": self._next}}))
        return self._next

    def call(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = self.send(name, body)

        def answer() -> dict[str, Any] | None:
            self.route()
            return self.answers.pop(asked, None)

        replies: dict[str, Any] = until(answer)
        return replies

    def answers_with(self, name: str, request: str, **expected: int) -> bool:
        return self.call(name, {"type": request}).items() >= expected.items()

    def route(self) -> None:
        for node in self._nodes.values():
            assert node.stdout
            for each in iter(node.stdout.readline, ""):
                message = json.loads(each)
                if message["dest"] in self._nodes:
                    self._write(message["dest"], each.strip())
                else:
                    self.answers[message["body"]["in_reply_to"]] = message["body"]

    def _write(self, name: str, text: str) -> None:
        stdin = self._nodes[name].stdin
        assert stdin
        stdin.write(text + "\n")
        stdin.flush()


def test_pn_counter_workload_over_three_nodes() -> None:
    names = ["n1", "n2", "n3"]
    with ExitStack() as stack:
        network = Network({name: stack.enter_context(node_process("--stdio", "--interval-ms=10")) for name in names})
        for name in names:
            assert network.call(name, {"type": "init", "node_id": name, "node_ids": names})["type"] == "init_ok"
        deltas = [3, -5, 8, -1, 0, 7, 2, -9, 4]
        for i, delta in enumerate(deltas):
            assert network.call(names[i % 3], {"type": "add", "delta": delta})["type"] == "add_ok"
        for name in names:
            until(partial(network.answers_with, name, "read", value=sum(deltas)))
            until(partial(network.answers_with, name, "gossip_status", peers_synced=2))


def test_end_of_input_answers_everything_read() -> None:
    adds = [line({"type": "add", "msg_id": i, "delta": 1}) for i in range(2000)]
    began = time.monotonic()
    replies = bodies([INIT, *adds, READ])
    assert replies[-1]["value"] == 2000
    assert len(replies) == 2002
    assert time.monotonic() - began < LIMIT_S
