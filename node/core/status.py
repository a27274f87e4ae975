"""What a node reports about itself: one typed snapshot for `gossip_status`, for Redis's INFO and for metrics.

Pure.
"""

from dataclasses import asdict, dataclass

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.membership import Membership, Standing
from gossip_counter.node.core.messages import GossipStatusOk
from gossip_counter.node.core.roster import Roster
from gossip_counter.node.core.standing_list import by_state
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A node at one moment. `local_value`, `increments` and `decrements` are of the counter that was asked about."""

    name: str
    cluster: str
    cluster_id: ClusterId
    keys: tuple[str, ...]
    """Ids of the keys that seal and open datagrams; none: they are plain."""
    actor: Actor
    members: int
    """This node included."""
    members_by_state: dict[str, int]
    """up, suspect or down; left and removed are no members any more."""
    is_ready: bool
    """Whether it is a member, and an add would be committed at once: see `Replica.is_ready`."""
    rounds: int
    """Gossip rounds so far."""
    local_value: int
    increments: int
    decrements: int
    deadline: int | None
    """When that counter ends, in Unix milliseconds; None: never."""
    counters: int
    expiring: int
    """Counters that have a deadline."""
    rows: int
    actors: int
    counted: int
    """The sum of all increments and decrements of all counters."""
    dirty_rows: int
    """Peers' rows that are not durable yet."""
    fingerprint: int
    peers_synced: int
    peers_unheard: int
    """Peers that sent nothing since this process started: nothing is known of them."""
    convergence_ms: float | None
    state_since_ns: int
    standings: tuple[Standing, ...]
    stats: Stats

    @property
    def skew(self) -> tuple[str, int] | None:
        """The peer whose clock differs most from ours, and by how many milliseconds it is ahead; None: none said."""
        skews = [(each.name, each.skew_ms) for each in self.standings if each.skew_ms is not None]
        return max(skews, key=lambda skew: abs(skew[1]), default=None)

    def as_reply(self, msg_id: int) -> GossipStatusOk:
        """The reply to `gossip_status`."""
        skewed_peer, skew_ms = self.skew or (None, None)
        return GossipStatusOk(
            in_reply_to=msg_id,
            local_value=self.local_value,
            gossip_rounds=self.rounds,
            peers_synced=self.peers_synced,
            convergence_ms=self.convergence_ms,
            increments=self.increments,
            decrements=self.decrements,
            deadline=self.deadline,
            counters=self.counters,
            rows=self.rows,
            counted=self.counted,
            dirty_rows=self.dirty_rows,
            members=self.members,
            members_by_state=self.members_by_state,
            peers_unheard=self.peers_unheard,
            skew_ms=skew_ms,
            skewed_peer=skewed_peer,
            fingerprint=f"{self.fingerprint:016x}",
            state_since_ns=self.state_since_ns,
            name=self.name,
            cluster=self.cluster,
            cluster_id=self.cluster_id.text,
            cluster_id_settled=self.cluster_id.is_settled,
            keys=self.keys,
            stats=asdict(self.stats),
        )


def snapshot(
    config: Config, state: State, stats: Stats, membership: Membership, roster: Roster, now_ns: int, counter: str,
    **of_replica: object,
) -> Status:  # fmt: skip
    """Gather it. `of_replica` are the fields that only the replica knows."""
    lives = state.lives(counter)
    increments, decrements = lives.counts
    standings = tuple(membership.standings(now_ns))
    return Status(
        name=config.name,
        cluster=config.cluster,
        members=len(membership) + 1,
        members_by_state=by_state(roster, standings),
        local_value=state.value(counter),
        increments=increments,
        decrements=decrements,
        deadline=lives.deadline or None if increments or decrements else None,
        counters=len(state.totals),
        expiring=state.ends.expiring,
        rows=state.row_count,
        actors=state.actors,
        counted=state.counted,
        fingerprint=state.fingerprint,
        peers_synced=membership.synced,
        peers_unheard=len(membership.unheard),
        convergence_ms=membership.convergence_ms,
        state_since_ns=membership.state_since_ns,
        standings=standings,
        stats=stats,
        **of_replica,  # type: ignore[arg-type]
    )
