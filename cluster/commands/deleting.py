"""The command that deletes counters."""

import sys
from asyncio import gather
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, NamedTuple

import typer

from gossip_counter.cluster import counters
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.commands.counting import choose, request, say_unknown
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, CounterNames, Directory
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.wording import counted, shown

AT_ONCE = 64
"""Deletes under way at a time."""


@in_one_line("cluster")
def delete(
    names: CounterNames,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete all that match a glob without a question.")] = False,
    node: AtNode = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Delete counters at one node; gossip takes them away at the others.

    What the node knows of them goes, and no add that it has not received yet. Of names that it does not know, stderr
    says so.
    """
    cluster = Cluster.load_up(directory)
    member = choose(cluster, node)
    if any(map(counters.is_pattern, names)) and not yes:
        _confirm(member, names)
    done = run(request(cluster, member, lambda client: _delete_all(client, member, names)))
    for name in done.unknown:
        if counters.is_pattern(name):
            typer.echo(f"{member.name} knows of no counter that matches {shown(name)}", err=True)
        else:
            say_unknown(member, name)
    if done.deleted:
        is_named = len(names) == 1 and names[0] and not counters.is_pattern(names[0])
        typer.echo(f"{member.name} deleted {shown(names[0]) if is_named else counted(done.deleted, 'counter')}")


def _confirm(member: Member, names: Sequence[str]) -> None:
    """Ask whether all that match may go. Raises `ClusterError` if nobody says so."""
    if not sys.stdin.isatty():
        pattern = next(filter(counters.is_pattern, names))
        raise ClusterError(f"nothing was deleted: --yes deletes all counters that match {shown(pattern)}")
    count = run(_count(member, names))
    if not typer.confirm(f"Delete {counted(count, 'counter')}?"):
        raise ClusterError("nothing was deleted")


async def _count(member: Member, names: Sequence[str]) -> int:
    """How many counters match; one that matches twice is counted twice."""
    count = 0
    for name in names:
        async for some in _matching(member, name):
            count += len(some)
    return count


async def _matching(member: Member, name: str) -> AsyncIterator[list[str]]:
    """The counters that a name or a glob stands for, page by page."""
    if not counters.is_pattern(name):
        yield [name]
        return
    async for page in counters.pages(member.address, name):
        yield [each.name for each in page]


class _Deleted(NamedTuple):
    deleted: int
    unknown: list[str]
    """Names that no counter was found for."""


async def _delete_all(client: Client, member: Member, names: Sequence[str]) -> _Deleted:
    deleted, unknown = 0, list[str]()
    for name in names:
        before = deleted
        async for page in _matching(member, name):
            for at in range(0, len(page), AT_ONCE):
                deleted += sum(await gather(*map(client.delete, page[at : at + AT_ONCE])))
        if deleted == before:
            unknown.append(name)
    return _Deleted(deleted, unknown)
