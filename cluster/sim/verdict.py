"""The verdict: what must be true at the end of a run, when every node is up and all faults have ended.

Pure. 4. *Convergence*: all nodes come to the same state. 5. *Bounded*: no node stores a row nobody wrote. The other
promises are the oracle's.
"""

from collections.abc import Collection, Sequence

from gossip_counter.cluster.sim import recomputed
from gossip_counter.cluster.sim.losses import Losses
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.node.core import tokens
from gossip_counter.node.core.replica import Replica


def in_sync(replicas: Sequence[Replica]) -> bool:
    """Whether all of them have the same state and the same digest."""
    first, *others = (replica.state for replica in replicas)
    full = replicas[0].config.gossip == "full"  # which claims nothing, so that versions differ
    return all(
        other.fingerprint == first.fingerprint and (full or other.digest() == first.digest()) for other in others
    )


def check(
    replicas: Sequence[Replica], lives: int, clones: int, oracle: Oracle, losses: Losses, ending: Collection[str]
) -> None:
    """Check replicas that are in sync after that many starts, of which so many were clones'. Raises `PromiseBroken`.

    `ending`: the counters that end, as far as they were not forgotten.
    """
    _check_rows(replicas, by_version=not losses.forked)
    _check_tokens(replicas)
    epochs = sum(replica.stats.new_epochs for replica in replicas)
    # Each life may have found nobody to ask at its start; and a clone and its original leave their actor.
    if epochs > len(losses.forked) + len(replicas) + clones:
        raise PromiseBroken("a new epoch without a reason")
    for replica in replicas:
        recomputed.check(replica.state)
    state = replicas[0].state
    most = (len(oracle.counters) + len(ending)) * (epochs + lives + clones)
    if state.row_count > most:
        raise PromiseBroken(f"{state.row_count} rows where {most} can have been written")
    oracle.check_answered()
    losses.count_forks(state.row)
    for counter in oracle.counters:
        rows = list(state.ends.rows(counter).values())
        totals = sum(row.p for row in rows), sum(row.n for row in rows)
        oracle.check_totals(replicas[0].config.name, counter, totals, state.value(counter))


def _check_rows(replicas: Sequence[Replica], by_version: bool) -> None:
    """Of a fork, nodes may know a count by the version of either branch: then versions are not compared."""
    first, *others = (
        sorted((actor, counter, row if by_version else row._replace(version=0)) for actor, counter, row in each.state)
        for each in replicas
    )
    if any(each != first for each in others):
        raise PromiseBroken("equal digests, unequal rows")


def _check_tokens(replicas: Sequence[Replica]) -> None:
    """A token of one node must be good at every other."""
    first, *others = replicas
    token = tokens.issue(first.state) if first.config.gossip == "delta" else None
    if token and not all(tokens.includes(each.state, tokens.parse(token)) for each in others):
        raise PromiseBroken("a token is not good at another node, though all have the same state")
