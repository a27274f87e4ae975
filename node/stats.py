"""What a node counts about itself: traffic, and everything it refused or dropped. Told by `gossip_status`."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Totals since this process started."""

    datagrams_in: int = 0
    """Datagrams and bytes of every kind, requests and replies among them."""
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bad_input: int = 0
    """Datagrams or lines that made no sense and that nobody could be answered about."""
    requests_refused: int = 0
    """Requests answered with an error."""
    foreign_gossip: int = 0
    """Gossip of another cluster, dropped."""
    rows_dropped: int = 0
    """Peers' rows dropped because `max_rows` are held."""
    actors_dropped: int = 0
    """Deltas dropped because `max_actors` are held."""
    gaps: int = 0
    """Deltas that came without what goes before them: their rows count, their versions claim nothing."""
    shrinking_rows: int = 0
    """Newer rows with smaller counts; the maximum takes nothing from them."""
    future_digests: int = 0
    """Digests that claim more of our own actor than we ever wrote."""
    strangers: int = 0
    """Gossip that called for an answer, from a name that is no member's."""
    new_epochs: int = 0
    """How often a peer showed more of our own actor than we ever wrote, and we began a new epoch."""
    recounted: int = 0
    """What such a row would have swallowed of our adds, counted again under the new epoch."""
    uncounted: int = 0
    """How often there was no room for that, because a row would have left its bounds near 2**63."""
    commits: int = 0
    """Times that rows were made durable."""
    commit_errors: int = 0
    """Times that they could not be; then the adds among them were refused."""
    journals_set_aside: int = 0
    """1 if the journal found at the start was unusable and is kept under another name."""
    timeouts: int = 0
    """Adds whose copies, and reads whose token's writes, were not there in time."""
    row_bytes_out: int = 0
    """Bytes of datagrams that carried rows."""
    receive_errors: int = 0
    """What the socket would not give or take: a full buffer, an unreachable host."""
    send_errors: int = 0
    internal_errors: int = 0
    """Exceptions that nobody foresaw; each is logged."""
