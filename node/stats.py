"""What a node counts about itself: traffic, and everything it refused or dropped. Told by `gossip_status`."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Totals since this process started."""

    datagrams_in: int = 0
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
    own_rows_returned: int = 0
    """Rows of our own actor that we never wrote, shown by a peer: each begins a new epoch."""
    receive_errors: int = 0
    send_errors: int = 0
    internal_errors: int = 0
    """Exceptions that nobody foresaw; each is logged."""
