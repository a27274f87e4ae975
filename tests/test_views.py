"""Claim: what people are shown is never cut, never clamped, and never ends what it shows."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from gossip_counter.cluster import cli, counters, dashboard
from gossip_counter.cluster.client import NoAnswerError
from gossip_counter.cluster.commands import live
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.monitor import DEAD, SILENT, UP, Monitor, NodeView, Snapshot
from gossip_counter.cluster.options import complete_counter, is_plain_word
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.screen import Screen
from gossip_counter.cluster.wording import shown
from tests.support.commands import Commands
from tests.support.waiting import until

MOST = 2**63 - 1


def view(number: int, value: int = 7, state: str = UP, **status: Any) -> NodeView:
    """A node that has been up for a while; level if its fingerprint is "a"."""
    node = NodeView(f"n{number}", 40_000 + number, state, f"127.0.0.1:{7100 + number}")
    if state == UP:
        known = {
            "local_value": value, "increments": max(value, 0), "decrements": max(-value, 0), "gossip_rounds": 1234,
            "peers_synced": 0, "members": 3, "peers_unheard": 0, "convergence_ms": 12.3, "fingerprint": "a",
        }  # fmt: skip
        node.status = known | status
        node.level = node.status["fingerprint"] == "a"
        node.rates = {"datagrams_in": 40.0, "datagrams_out": 41.0, "bytes_in": 4000.0, "bytes_out": 5000.0}
        node.cpu, node.memory = 1.3, 41_000_000
    return node


def text(snapshot: Snapshot, width: int, height: int | None = None) -> str:
    console = Console(width=width, height=height or 25, file=io.StringIO())
    console.print(dashboard.table(snapshot, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")


# The table.


@pytest.mark.parametrize("state", ["suspect", "down"])
def test_members_that_are_not_up_have_a_column_while_there_are_any(state: str) -> None:
    by_state = {"up": 2, "suspect": 0, "down": 0, "left": 1, "removed": 0}
    assert "not up" not in text(Snapshot([view(1, members_by_state=by_state)]), 120)
    shown = text(Snapshot([view(1, members_by_state=by_state | {state: 1})]), 120)
    assert "not up" in shown
    assert f"1 {state}" in shown
    assert "1 left" not in shown  # who left is no member


@pytest.mark.parametrize("nodes", [3, 50])
@pytest.mark.parametrize("value", [7, -MOST, 2 * MOST])
@pytest.mark.parametrize(("width", "height"), [(40, 15), (60, 20), (80, 24), (120, 40)])
def test_node_state_port_value_and_verdict_are_never_cut(width: int, height: int, value: int, nodes: int) -> None:
    views = [view(number, value) for number in range(1, nodes)] + [view(nodes, state=DEAD)]
    lines = text(Snapshot(views), width, height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    shown = " ".join(lines)
    for word in ("n1 ", "level", "7101", f"{value:,}", f"n{nodes} ", "dead", str(7100 + nodes), "agreed on"):
        assert word in shown, word
    assert "…" not in shown
    assert f"{value:,}" in shown[shown.index("agreed on") :]


def test_processor_memory_and_convergence_are_left_out_first() -> None:
    views = [view(number) for number in (1, 2, 3)]
    assert all(title in text(Snapshot(views), 150) for title in ("cpu %", "MB", "conv. ms", "dgrams/s", "synced"))
    narrow = text(Snapshot(views), 80)
    assert all(title in narrow for title in ("pid", "rounds", "synced", " + ", " - "))
    assert not any(title in narrow for title in ("cpu %", "MB", "conv. ms"))


def test_of_many_nodes_those_in_trouble_are_shown() -> None:
    views = [view(number) for number in range(1, 51)]
    views[46] = view(47, 6, fingerprint="b")
    shown = text(Snapshot(views), 80, 24)
    assert "n47" in shown
    assert "behind" in shown
    assert "more: " in shown and " level" in shown
    assert "n50" not in shown
    assert "not agreed (49 nodes=7, 1 node=6)" in shown
    assert all(f" n{number} " in text(Snapshot(views), 80) for number in range(1, 51)), "not live: all of them"


def test_what_is_not_known_is_not_shown_as_zero() -> None:
    fresh = view(1, convergence_ms=None, peers_unheard=2)
    fresh.rates, fresh.cpu = {}, None
    known = view(2, 0, convergence_ms=0.0, peers_unheard=1)
    snapshot = Snapshot([fresh, known, view(3, state=DEAD), view(4, state=SILENT)])
    rows = [line.split("│")[1:-1] for line in text(snapshot, 170).splitlines() if "│" in line]
    titles = [
        "node",
        "pid",
        "state",
        "port",
        "value",
        "+",
        "-",
        "rounds",
        "synced",
        "unheard",
        "conv",
        "in",
        "kB",
        "cpu",
        "MB",
    ]
    n1, n2, n3, n4 = (dict(zip(titles, (cell.strip() for cell in row), strict=True)) for row in rows)
    assert (n1["synced"], n1["unheard"], n1["conv"], n1["in"], n1["kB"], n1["cpu"]) == ("?", "2", "?", "?", "?", "?")
    assert (n2["value"], n2["synced"], n2["unheard"], n2["conv"]) == ("0", "0", "1", "0")
    assert (n3["pid"], n3["value"], n3["conv"], n3["cpu"]) == ("-", "-", "-", "-")
    assert (n4["value"], n4["conv"]) == ("?", "?")
    assert "unheard" not in text(Snapshot([view(1)]), 170)


def test_what_is_left_of_a_counter_is_shown_if_it_ends() -> None:
    ends = view(2, deadline=2**62)
    assert "left" not in text(Snapshot([view(1)]), 170)
    rows = [line.split("│")[6].strip() for line in text(Snapshot([view(1), ends]), 170).splitlines() if "│" in line]
    assert rows[0] == ""
    assert rows[1].endswith(" days")
    assert "left" in text(Snapshot([ends, view(3, state=DEAD), view(4, state=SILENT)]), 80)


@pytest.mark.parametrize(("skew_ms", "line"), [(61_000, "the clock of n3 is 61 s ahead of that of n2"),
                                               (-1500, "the clock of n3 is 1.5 s behind that of n2")])  # fmt: skip
def test_a_clock_that_is_off_is_named_within_the_height(skew_ms: int, line: str) -> None:
    views = [view(1, skew_ms=1000, skewed_peer="n3"), view(2, skew_ms=skew_ms, skewed_peer="n3")]
    assert line in text(Snapshot(views), 80)
    assert "clock" not in text(Snapshot([views[0], view(4, skew_ms=None), view(5, state=DEAD)]), 80)
    many = [*views, *(view(number) for number in range(3, 50))]
    shown = text(Snapshot(many), 80, 24)
    assert line in shown
    assert len(shown.splitlines()) <= 24


def test_a_sum_beyond_64_bits_is_agreed_on_as_it_is() -> None:
    snapshot = Snapshot([view(1, 2 * MOST), view(2, 2 * MOST)])
    assert dashboard.line(snapshot) == "2 of 2 nodes up, agreed on 18,446,744,073,709,551,614"
    assert json.loads(json.dumps(snapshot.as_json()))["value"] == 2 * MOST


def test_the_headline_names_the_counter() -> None:
    views = [view(1, 5), view(2, 5)]
    assert dashboard.line(Snapshot(views, counter="likes")) == "2 of 2 nodes up, agreed on likes = 5"
    assert 'agreed on "a\\nb" = 5' in dashboard.line(Snapshot(views, counter="a\nb"))
    views[1] = view(2, 4, fingerprint="b")
    assert dashboard.line(Snapshot(views, counter="likes")) == "2 of 2 nodes up, not agreed (likes = n1=5, n2=4)"


# The live view.


@pytest.fixture
def shown_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that counts as up, of which no process runs; snapshots follow each other at once."""
    cluster = Cluster.create(tmp_path / "c", 2, 0, Settings())
    cluster.manifest.is_up = True
    cluster.manifest.save()
    monkeypatch.setattr(live, "INTERVAL_S", 0)
    yield cluster


def take_down(cluster: Cluster) -> None:
    cluster.manifest.is_up = False
    cluster.manifest.save()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_error_in_showing_a_cluster_ends_nothing_and_is_reported(
    shown_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    asked = 0

    def drawn(*_: object) -> str:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise UnicodeEncodeError("latin-1", "\N{MINUS SIGN}", 0, 1, "ordinal not in range")
        take_down(shown_cluster)
        return "drawn at last"

    monkeypatch.setattr(live, "out", Console(force_terminal=is_terminal, width=80))
    monkeypatch.setattr(dashboard, "table" if is_terminal else "line", drawn)
    asyncio.run(live.show(shown_cluster, ""))
    output = capsys.readouterr()
    assert "drawn at last" in output.out
    assert "could not be shown 4 times, and went on; last because of UnicodeEncodeError" in output.err


def test_a_node_that_cannot_be_looked_at_ends_nothing(
    shown_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def look(*_: object) -> Snapshot:
        take_down(shown_cluster)
        raise KeyError("fingerprint")

    monkeypatch.setattr(Monitor, "look", look)
    asyncio.run(live.show(shown_cluster, ""))
    assert "could not be shown once" in capsys.readouterr().err


def test_a_terminal_that_is_gone_at_the_end_is_an_error_of_the_view_only(capsys: pytest.CaptureFixture[str]) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    with Screen(Console(file=Gone(), force_terminal=True)) as screen:
        pass
    assert screen.failures
    assert "Input/output error" in capsys.readouterr().err


# The counters of a node, and views of one of them.


def test_counters_are_listed_watched_and_named(cluster: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.up(2)
    for name, delta in (("page:a", 5), ("page:b", 70), ("likes", -3), ("", 1), ("a*", 2)):
        done = cluster.ok("add", str(delta), "--node=n1", "--counter", name)
        assert done == f"n1 counted {delta:+d}{f' in {name}' if name else ''}\n"
    assert cluster.ok("counters", "--node=n1") == ' 1  ""\n 2  a*\n-3  likes\n 5  page:a\n70  page:b\n'
    assert cluster.ok("counters", "page:*", "--node=n1", "--sort=value") == "70  page:b\n 5  page:a\n"
    top = cluster.run("counters", "--node=n1", "--top=1", "--sort=value")
    assert (top.stdout, top.stderr) == ("70  page:b\n", "1 of 5 counters: --top shows more\n")
    assert json.loads(cluster.ok("counters", "l*", "--json", "--node=n1")) == {
        "node": "n1", "matching": 1, "counters": [{"name": "likes", "value": -3, "left_ms": None}]
    }  # fmt: skip
    none = cluster.run("counters", "nothing*", "--node=n1")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "n1 knows of no such counter\n")
    assert "refuses: ERR a pattern must be" in cluster.refused("counters", "x" * 2000)

    until(lambda: cluster.ok("read", "--node=n2", "--counter=likes") == "-3\n")
    status = json.loads(cluster.ok("status", "--json", "--counter=page:b"))
    assert (status["counter"], status["nodes"][0]["local_value"]) == ("page:b", 70)
    assert "agreed on page:b = 70" in cluster.ok("status", "--counter=page:b")

    typo = cluster.run("status", "--counter=liked")
    assert (typo.exit_code, typo.stderr) == (0, "no node knows of an add to liked\n")
    assert cluster.run("status", "--counter=page:b").stderr == ""
    typo = cluster.run("read", "--node=n1", "--counter=liked")
    assert (typo.exit_code, typo.stdout, typo.stderr) == (0, "0\n", "n1 knows of no add to liked\n")
    cluster.ok("add", "3", "--node=n1", "--counter=likes")
    assert cluster.run("read", "--node=n1", "--counter=likes").stderr == "", "an add and a subtraction are known"

    context = typer.Context(typer.main.get_command(cli.app))
    context.params["directory"] = cluster.directory
    assert complete_counter(context, "page") == ["page:a", "page:b"]
    assert complete_counter(context, "a*") == []
    cluster.ok("kill", "n1")
    assert complete_counter(context, "li") == ["likes"]


def test_no_two_names_are_shown_alike() -> None:
    names = ["", '""', "a", "a ", " a", '"a"', "a\n", "a\\n", '"a\\n"', "größe", "größe ", " ", "\u2007"]
    texts = [shown(name) for name in names]
    assert texts[:6] == ['""', '"\\"\\""', "a", '"a "', '" a"', '"\\"a\\""']
    assert len(set(texts)) == len(names)


@pytest.mark.parametrize("name", ["likes", "page:a", "calls:ann@example.org", "größe", "2026-11/27", "a.b_c%"])
def test_a_name_that_a_shell_takes_as_it_is_is_completed(name: str) -> None:
    assert is_plain_word(name)


@pytest.mark.parametrize(
    "name",
    ["", "x$(touch${IFS}x)", "`x`", "a b", "a;b", "a'b", 'a"b', "a\\b", "a\nb", "~x", "-x", "=x", "a&b", "a|b", "a>b",
     "a!b", "a#b", "a*", "a?", "[a]", "{a,b}", "\x1b[31m", "a\x9b31m", "\u202ea", "a\u200bb", "a\u2028b"],
)  # fmt: skip
def test_a_name_that_means_something_to_a_shell_or_a_terminal_is_never_completed(name: str) -> None:
    assert not is_plain_word(name)


def serve(replies: bytes, ask: Any) -> Any:
    """What `ask` comes to with the address of a server that answers anything with these bytes and hangs up."""

    async def main() -> Any:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(replies)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            return await ask(server.sockets[0].getsockname())

    return asyncio.run(main())


def test_pages_are_put_together_and_only_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "PAGE", 1)
    pages = b"*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n" + b"*2\r\n$1\r\n3\r\n$-1\r\n"  # b has gone meanwhile
    pages += b"*2\r\n$1\r\n8\r\n*0\r\n" + b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"
    pages += b"*2\r\n$20\r\n18446744073709551614\r\n$1\r\n5\r\n"
    found = serve(pages, lambda address: counters.first(address, "*", 2, counters.by_value))
    assert found == ([("c", 2 * MOST), ("d", 5)], 3)


def test_what_is_left_of_counters_is_asked_for_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "PAGE", 2)
    left = b":90000\r\n:-1\r\n:-2\r\n:0\r\n:7\r\n"  # c has gone meanwhile
    found = serve(left, lambda address: counters.left_ms(address, ["a", "b", "c", "d", "e"]))
    assert found == {"a": 90_000, "d": 0, "e": 7}
    with pytest.raises(NoAnswerError, match="can't be asked"):
        serve(b":1\r\n", lambda address: counters.left_ms(address, ["a", "b"]))


def test_a_node_that_does_not_answer_or_refuses_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for replies, error, why in (
        (b"*2\r\n$1\r\n", NoAnswerError, "can't be asked"),
        (b"-ERR no\r\n", ClusterError, "the node refuses: ERR no"),
    ):
        with pytest.raises(error, match=why):
            serve(replies, lambda address: counters.first(address, "*", 2))
    with pytest.raises(NoAnswerError, match="can't be asked"):
        asyncio.run(counters.first(("127.0.0.1", 1), "*", 1))


# Commands that go on until Ctrl-C.


def test_watch_shows_a_cluster_and_leaves_it_running(cluster: Commands) -> None:
    cluster.up(1)
    cluster.ok("add", "5", "--counter=likes")
    with cluster.popen("watch", "--counter=likes") as watching:
        assert watching.stdout
        assert watching.stdout.readline() == "1 of 1 nodes up, agreed on likes = 5\n"
        watching.terminate()
        _, stderr = watching.communicate()
    assert (watching.returncode, stderr) == (0, "the cluster runs on; 'cluster down' stops it\n")
    assert cluster.ok("read", "--counter=likes") == "5\n"


def test_new_lines_of_a_log_are_followed_also_if_it_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, written = tmp_path / "n1.log", iter(("zähler\nha", "lf\n", None, "x" * 200_000))
    path.write_text("old\n", encoding="utf-8")
    printed: list[str] = []

    async def write_more(_: float) -> None:
        printed.append(capsys.readouterr().out)
        more = next(written)
        if more is None:
            path.write_text("new\n", encoding="utf-8")
        else:
            with path.open("a", encoding="utf-8") as log:
                log.write(more)

    monkeypatch.setattr(asyncio, "sleep", write_more)
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(live._follow(path, 4))
    assert printed[:4] == ["", "zähler\n", "half\n", "new\n"]
    assert 100_000 < printed[4].count("x") <= 200_000
    path.unlink()
    with pytest.raises(ClusterError, match="can't read"):
        asyncio.run(live._follow(path, 4))
