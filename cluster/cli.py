"""The command `cluster`: start nodes, watch them, count with them, kill them, stop them."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.live import Live

from gossip_counter import __version__
from gossip_counter.cluster import dashboard
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.launcher import MAX_NODES, Cluster, LaunchError, Member, Settings, changing
from gossip_counter.cluster.monitor import Monitor, Snapshot
from gossip_counter.cluster.running import InterruptedBySignal, in_one_line, run
from gossip_counter.cluster.supervisor import Supervisor
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import DEFAULT_COUNTER

T = TypeVar("T")

LOOK_S = 0.25
"""Seconds between two looks of the live table."""

HELP = """Run a gossip counter on this machine: several nodes, no leader, one value.

Every node takes increments and decrements by itself and gossips with the others until all agree.

A first try, in two terminals:

    cluster up -n 5          # the live table, until Ctrl-C

    cluster add 42           # in the other terminal
    cluster read --node n3   # 42, from another node

    redis-cli -p 7102 incr likes   # any node speaks the Redis protocol too

    cluster kill n2          # watch the others carry on
    cluster restart n2       # and watch it catch up

What was acknowledged is on disk: `cluster down` and `cluster up` bring it back.

A cluster lives in a directory (--dir, or the variable COUNTER_DIR; default .counter).
"""

app = typer.Typer(
    help=HELP.replace("\n    ", "\n\n    "),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
out = Console()


def complete_node(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the nodes that are up, for the shell's completion."""
    directory = context.params.get("directory") or Path(".counter")
    with contextlib.suppress(LaunchError):
        return [name for name in Cluster.load_up(Path(directory)).members if name.startswith(incomplete)]
    return []


class GossipMode(StrEnum):
    """How nodes gossip, as `node.config` explains it."""

    DELTA = "delta"
    FULL = "full"


class LogLevel(StrEnum):
    """How much nodes log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Directory = Annotated[
    Path,
    typer.Option("--dir", envvar="COUNTER_DIR", help="Where the cluster keeps its data, logs and list of processes."),
]
NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name, such as n3.", autocompletion=complete_node)
]
AtNode = Annotated[
    str | None,
    typer.Option("--node", help="The node to ask; without it, one that is up.", autocompletion=complete_node),
]
CounterName = Annotated[
    str, typer.Option("--counter", help="The counter's name, at most 255 bytes; without it, the default counter.")
]
Push = Annotated[
    bool | None, typer.Option("--push/--no-push", help="Send news at once (delta gossip only).  [default: push]")
]
IN_HERE = Path(".counter")


def pushes(push: bool | None, gossip: GossipMode) -> bool:
    """Whether nodes are to push, by these options. Raises `LaunchError` where they can't."""
    if push and gossip is GossipMode.FULL:
        raise LaunchError("--push is for delta gossip only: leave it out, or leave out --gossip full")
    return push is not False


@app.command()
@in_one_line("cluster")
def up(
    nodes: Annotated[
        int | None, typer.Option("-n", "--nodes", min=1, max=MAX_NODES, help="How many nodes.  [default: 5]")
    ] = None,
    base_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_435,
            help="Port of n1, for UDP and Redis clients; n2 has the next. 0 takes free ones.  [default: 7101]",
        ),
    ] = None,
    interval_ms: Annotated[int, typer.Option(min=1, max=3_600_000, help="Between two gossip rounds.")] = 100,
    fanout: Annotated[int, typer.Option(min=0, max=1000, help="Random peers a round speaks to.")] = 2,
    gossip: Annotated[GossipMode, typer.Option(help="Digests and changes, or the whole state every round.")] = (
        GossipMode.DELTA
    ),
    push: Push = None,
    ephemeral: Annotated[
        bool,
        typer.Option("--ephemeral", help="Keep counts in memory: a node that dies knows only what others tell it."),
    ] = False,
    faults: Annotated[
        bool, typer.Option("--faults", help="Allow 'cluster partition', which is for experiments.")
    ] = False,
    metrics: Annotated[
        bool,
        typer.Option(
            "--metrics", help="Serve /metrics, /healthz and /readyz of each node; 'status --json' tells where."
        ),
    ] = False,
    restarting: Annotated[
        bool,
        typer.Option(
            "--restart", help="Start nodes that die again, ever later if they keep dying (not with --detach)."
        ),
    ] = False,
    log_level: Annotated[LogLevel, typer.Option(help="Of the nodes' logs.")] = LogLevel.INFO,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the nodes running and return.")] = False,
    directory: Directory = IN_HERE,
) -> None:
    """Start a cluster and show it live until Ctrl-C, which stops it.

    Where the directory holds a cluster that is down, that one is started again: the same nodes and ports, with their
    data. All else is as the options say now.
    """
    if restarting and detach:
        raise typer.BadParameter("somebody must stay to restart nodes: leave out --detach", param_hint="--restart")
    does_push = pushes(push, gossip)
    settings = Settings(interval_ms, fanout, gossip.value, does_push, log_level.value, ephemeral, faults, metrics)
    shown: list[Cluster] = []
    try:
        run(_up(directory, settings, shown, nodes=nodes, base_port=base_port, detach=detach, restarting=restarting))
    except InterruptedBySignal as signal:
        if not shown:
            raise
        typer.echo(f"stopped ({signal})", err=True)


async def _up(
    directory: Path,
    settings: Settings,
    shown: list[Cluster],
    *,
    nodes: int | None,
    base_port: int | None,
    detach: bool,
    restarting: bool,
) -> None:
    began = asyncio.get_running_loop().time()
    async with changing(directory, make=True):
        cluster = _old_or_new(directory, settings, nodes, base_port)
        await cluster.start_all()
    stays = False
    try:
        _tell_start(cluster, asyncio.get_running_loop().time() - began)
        if detach:
            typer.echo("next: cluster status, cluster add 1, cluster read, cluster down")
            stays = True
        else:
            shown.append(cluster)
            await _watch(cluster, Supervisor(cluster) if restarting else None)
    finally:
        if not stays:
            async with changing(directory, make=True):
                cluster.stop_all()


def _old_or_new(directory: Path, settings: Settings, nodes: int | None, base_port: int | None) -> Cluster:
    """The cluster that was in a directory before, or else a new one. Raises `LaunchError`."""
    if not (directory / "cluster.json").exists():
        return Cluster.create(
            directory, 5 if nodes is None else nodes, 7101 if base_port is None else base_port, settings
        )
    found = Cluster.load(directory)
    alive = ", ".join(each.name for each in found.alive())
    if alive:
        raise LaunchError(
            f"a cluster is already up in {directory} ({alive}): 'cluster down' first, or use another --dir"
        )
    if nodes not in (None, len(found.members)):
        raise LaunchError(
            f"{directory} holds a cluster of {len(found.members)} nodes: leave out --nodes, or use another --dir"
        )
    if settings.ephemeral and not found.settings.ephemeral:
        raise LaunchError(f"{directory} holds durable counts: leave out --ephemeral, or use another --dir")
    found.settings, found.partition = settings, []
    if base_port is None:
        found.check_ports()
    else:
        found.move(base_port)
    return found


def _tell_start(cluster: Cluster, took_s: float) -> None:
    ports = [member.port for member in cluster.members.values()]
    nodes, first = len(ports), cluster.members["n1"]
    others = f" to {ports[-1]}" if ports == list(range(ports[0], ports[0] + nodes)) else " and others"
    where = f"{first.host}:{first.port}{others if nodes > 1 else ''}"
    typer.echo(f"{nodes} node{'s' * (nodes > 1)} up in {took_s:.2f} s on {where}, logs in {cluster.directory / 'logs'}")
    if cluster.settings.metrics:
        typer.echo(f"metrics of n1: http://{first.host}:{first.metrics_port}/metrics")


async def _watch(cluster: Cluster, supervisor: Supervisor | None) -> None:
    """Show the cluster until cancelled, or until somebody takes it down."""
    said = ""
    live = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with live or contextlib.nullcontext():
        async for snapshot in _snapshots(cluster):
            if live:
                live.update(dashboard.table(snapshot, out.width), refresh=True)
            elif dashboard.line(snapshot) != said:
                said = dashboard.line(snapshot)
                typer.echo(said)
            if supervisor:
                for line in await supervisor.tend(snapshot, asyncio.get_running_loop().time()):
                    out.print(line, markup=False, soft_wrap=True)
    typer.echo("the cluster was taken down")


async def _snapshots(cluster: Cluster) -> AsyncIterator[Snapshot]:
    monitor = Monitor()
    try:
        while True:
            try:
                saved = Cluster.load_up(cluster.directory)
            except LaunchError:
                return
            if saved.id != cluster.id:
                return
            cluster.members, cluster.partition = saved.members, saved.partition  # someone may have changed them
            yield await monitor.look(cluster)
            await asyncio.sleep(LOOK_S)
    finally:
        monitor.close()


@app.command()
@in_one_line("cluster")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the table as a picture.")] = None,
    directory: Directory = IN_HERE,
) -> None:
    """Show every node once, and whether those that live agree."""
    snapshot = run(_status(Cluster.load_up(directory), twice=not as_json))
    if svg:
        try:
            dashboard.save_picture(snapshot, svg)
        except OSError as error:
            raise LaunchError(f"can't write {svg}: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
    else:
        out.print(dashboard.table(snapshot, out.width))


async def _status(cluster: Cluster, twice: bool) -> Snapshot:
    monitor = Monitor()
    try:
        if twice:  # rates need two looks
            await monitor.look(cluster)
            await asyncio.sleep(LOOK_S)
        return await monitor.look(cluster)
    finally:
        monitor.close()


@app.command(context_settings={"ignore_unknown_options": True})
@in_one_line("cluster")
def add(
    delta: Annotated[
        int,
        typer.Argument(min=-MAX_COUNT, max=MAX_COUNT, help="What to add; negative takes away, as in: cluster add -5"),
    ],
    node: AtNode = None,
    counter: CounterName = DEFAULT_COUNTER,
    copies: Annotated[
        int, typer.Option(min=1, max=MAX_NODES, help="Wait until so many nodes hold it durably, this one included.")
    ] = 1,
    tell_token: Annotated[
        bool,
        typer.Option("--tell-token", help="Print a token, with which 'cluster read --token' sees this add anywhere."),
    ] = False,
    directory: Directory = IN_HERE,
) -> None:
    """Add to a counter at one node; the others learn it by gossip."""
    cluster = Cluster.load_up(directory)
    if tell_token and cluster.settings.gossip == "full":
        raise LaunchError("nothing is counted: this cluster gives no tokens, because it gossips whole states")
    member = _choose(cluster, node)
    token = run(_ask(member, lambda client: client.add(delta, counter, copies)))
    told = f"{member.name} counted {delta:+d}" + (f", durable on {copies} nodes" if copies > 1 else "")
    typer.echo(told, err=tell_token)
    if token is None and tell_token:
        typer.echo("no token is given, because too many nodes and former lives of nodes have written", err=True)
    elif tell_token:
        typer.echo(token)


@app.command()
@in_one_line("cluster")
def read(
    node: AtNode = None,
    counter: CounterName = DEFAULT_COUNTER,
    token: Annotated[str | None, typer.Option(help="Wait until the node holds what this token stands for.")] = None,
    directory: Directory = IN_HERE,
) -> None:
    """Print one node's value of a counter, and nothing else."""
    member = _choose(Cluster.load_up(directory), node)
    typer.echo(run(_ask(member, lambda client: client.read(counter, token))))


async def _ask(member: Member, request: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    async with await Client.connect(member.address, timeout_s=3) as client:
        return await request(client)


def _choose(cluster: Cluster, name: str | None) -> Member:
    """The node asked for, if it lives, or else any that does. Raises `LaunchError`."""
    if name is not None:
        member = cluster.member(name)
        if cluster.process(member) is None:
            raise LaunchError(f"{name} is dead: 'cluster restart {name}' starts it again")
        if cluster.is_paused(member):
            raise LaunchError(f"{name} is paused: 'cluster resume {name}' lets it go on")
        return member
    awake = [each for each in cluster.alive() if not cluster.is_paused(each)]
    if not awake:
        raise LaunchError("no node is up: 'cluster restart n1' starts one, 'cluster status' shows all")
    return random.choice(awake)


@app.command()
@in_one_line("cluster")
def kill(node: NodeName, directory: Directory = IN_HERE) -> None:
    """Kill a node with SIGKILL, as a crash would."""
    run(_change(directory, node, Cluster.kill))
    typer.echo(f"{node} killed")


async def _change(
    directory: Path,
    name: str,
    change: Callable[[Cluster, Member], None],
    load: Callable[[Path], Cluster] = Cluster.load_up,
) -> Cluster:
    async with changing(directory):
        cluster = load(directory)
        change(cluster, cluster.member(name))
        return cluster


@app.command()
@in_one_line("cluster")
def restart(node: NodeName, directory: Directory = IN_HERE) -> None:
    """Start a dead node again, or stop and start a living one; it learns from the others what it missed."""
    pid = run(_restart(directory, node))
    typer.echo(f"{node} up again, pid {pid}")


async def _restart(directory: Path, name: str) -> int:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        member = cluster.member(name)
        cluster.stop([member])
        cluster.start(member)
        await cluster.ready(member)
    return member.pid


@app.command()
@in_one_line("cluster")
def pause(node: NodeName, directory: Directory = IN_HERE) -> None:
    """Stop a node where it stands (SIGSTOP), as a machine that swaps or a debugger would."""
    run(_change(directory, node, Cluster.pause))
    typer.echo(f"{node} paused")


@app.command()
@in_one_line("cluster")
def resume(node: NodeName, directory: Directory = IN_HERE) -> None:
    """Let a paused node go on (SIGCONT)."""
    run(_change(directory, node, Cluster.resume))
    typer.echo(f"{node} goes on")


@app.command()
@in_one_line("cluster")
def wipe(node: NodeName, directory: Directory = IN_HERE) -> None:
    """Delete a dead node's data directory, as if its disk was lost; at its restart the others give it what they hold.

    What it had acknowledged and told nobody is gone: 'cluster add --copies 2' waits until others have it too.
    """
    cluster = run(_change(directory, node, Cluster.wipe, Cluster.load))  # one that is down may be wiped too
    command = f"cluster restart {node}" if cluster.is_up else "cluster up"
    typer.echo(f"{node} has nothing left: '{command}' starts it anew")


@app.command()
@in_one_line("cluster")
def partition(
    groups: Annotated[str, typer.Argument(metavar="GROUPS", help="Who hears whom, as in n1,n2/n3,n4,n5.")],
    directory: Directory = IN_HERE,
) -> None:
    """Cut groups of nodes off from each other, in a cluster started with --faults; 'cluster heal' ends it."""
    run(_part(directory, [[name.strip() for name in group.split(",")] for group in groups.split("/")]))
    typer.echo(f"cut into {groups}; clients still reach every node")


@app.command()
@in_one_line("cluster")
def heal(directory: Directory = IN_HERE) -> None:
    """Let all nodes hear each other again."""
    run(_part(directory, []))
    typer.echo("healed")


async def _part(directory: Path, groups: list[list[str]]) -> None:
    async with changing(directory):
        await Cluster.load_up(directory).part(groups)


@app.command()
@in_one_line("cluster")
def logs(
    node: NodeName,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    directory: Directory = IN_HERE,
) -> None:
    """Print the last log lines of a node."""
    cluster = Cluster.load(directory)
    for line in cluster.log_lines(cluster.member(node))[-lines:]:
        typer.echo(line)


@app.command()
@in_one_line("cluster")
def down(directory: Directory = IN_HERE) -> None:
    """Stop every node of the cluster, and no process that is not its own. Data and logs stay."""
    stopped = run(_down(directory))
    typer.echo(f"{stopped} node{'s' * (stopped != 1)} stopped")


async def _down(directory: Path) -> int:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        alive = len(cluster.alive())
        cluster.stop_all()
    return alive


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"cluster {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `cluster`."""
    app()


if __name__ == "__main__":
    main()
