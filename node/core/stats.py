"""What a node counts about itself: traffic, and everything it refused or dropped.

`gossip_status` shows these figures; the metrics endpoint does, with these texts.
"""

from dataclasses import dataclass, field, fields


def _count(text: str) -> int:
    return field(default=0, metadata={"help": text})


def _size(text: str) -> int:
    return field(default=0, metadata={"help": text, "is_size": True})


@dataclass(slots=True)
class Stats:
    """Totals since this process started, and sizes at present."""

    adds: int = _count("Increments and decrements asked for, over every endpoint.")
    reads: int = _count("Values asked for, over every endpoint.")
    datagrams_in: int = _count("Datagrams received, requests among them.")
    datagrams_out: int = _count("Datagrams sent, replies among them.")
    bytes_in: int = _count("Bytes of those received.")
    bytes_out: int = _count("Bytes of those sent.")
    bad_input: int = _count("Datagrams or lines that made no sense and that nobody could be answered about.")
    worthless_dropped: int = _count(
        "Datagrams dropped unread because their sender had just sent many that were no use: junk, gossip of another"
        " cluster, or of a member from an address that is not known to be its."
    )
    overload_dropped: int = _count(
        "Datagrams dropped unread because their sender had too many waiting, or all together had."
    )
    answers_withheld: int = _count(
        "Digests not answered because their sender had many answers just before, and requests and gossip because their"
        " address is not proven and had as many bytes as came from it."
    )
    requests_refused: int = _count("Requests answered with an error.")
    repeated_adds: int = _count(
        "Adds and deletes over UDP that came again within seconds: not done again, answered as before."
    )
    foreign_gossip: int = _count("Gossip of another cluster, by its name or its id, dropped.")
    no_key: int = _count(
        "Datagrams dropped because they are not sealed and this node has keys, or the other way round."
    )
    unknown_key: int = _count("Sealed datagrams dropped because their key is not in this node's file of keys.")
    retired_key: int = _count("Sealed datagrams dropped because their key was retired: the sender has an old file.")
    forged: int = _count("Sealed datagrams dropped because they were changed, or sealed for a cluster of another name.")
    replayed: int = _count("Sealed datagrams dropped because they had come before, or too late to know.")
    unbound: int = _count(
        "Sealed datagrams dropped because they were for an earlier process, another node or address; replayed or not."
    )
    key_file_errors: int = _count("Times that the file of keys had changed and could not be used: the old keys stay.")
    rows_dropped: int = _count("Peers' rows dropped because `max_rows` are held.")
    actors_dropped: int = _count("Deltas dropped because `max_actors` are held.")
    gaps: int = _count(
        "Deltas that arrived without what goes before them: their rows count, their versions claim nothing."
    )
    pulls_lost: int = _count(
        "Answers to pulls that did not come whole: this node is far behind and takes rows less fast than they are sent."
    )
    shrinking_rows: int = _count("Newer rows with smaller counts; the maximum takes nothing from them.")
    future_digests: int = _count("Digests that claim more of our own actor than we ever wrote.")
    future_versions: int = _count("Deltas that claim the same: the claims were ignored.")
    non_members: int = _count("Gossip dropped because its sender is no member of the cluster.")
    joins_refused: int = _count(
        "Requests to become a member that were refused: the name is a living member's, or this node is no settled one."
    )
    new_epochs: int = _count("Epochs begun after the start, because another process may have written as our actor.")
    forks: int = _count("Processes met that spoke under a member's name while another did, this node's name included.")
    reapplied: int = _count("What max-merge with such a row absorbed of our adds, added again in the new epoch.")
    not_reapplied: int = _count(
        "How often there was no room for that, because a row would have left its bounds near 2**63."
    )
    commits: int = _count("Times that rows were made durable.")
    commit_errors: int = _count("Times that they could not be made durable; then the adds among them were refused.")
    journal_locked: int = _count("Commits that met another process's lock on the journal.")
    journal_wal_blocked: int = _count(
        "Times that the journal's write-ahead log had grown and could not be emptied: another process reads from it, or"
        " its disk is full."
    )
    journal_wal_bytes: int = _size("Size of the journal's write-ahead log.")
    journals_set_aside: int = _count("1 if the journal found at the start was unusable and is kept under another name.")
    journals_copied: int = _count(
        "1 if the journal found at the start was a copy: its rows count, and a new epoch began."
    )
    mark_errors: int = _count("Times that the mark beside the journal could not be written; commits are not affected.")
    timeouts: int = _count("Adds whose copies, and reads whose token's writes, were missing at their deadline.")
    row_bytes_out: int = _count("Bytes of datagrams that carried rows.")
    receive_errors: int = _count("Times that the socket gave an error instead of a datagram.")
    send_errors: int = _count("Datagrams that the socket would not take: a full buffer, an unreachable host.")
    unresolved_names: int = _count(
        "Times that names of peers without an address, or silent at the one they had, were looked up in vain."
    )
    internal_errors: int = _count("Unexpected errors of our own; each is logged.")


HELP: dict[str, str] = {each.name: each.metadata["help"] for each in fields(Stats)}
"""What each figure counts."""

SIZES = {each.name for each in fields(Stats) if "is_size" in each.metadata}
"""Those that may become smaller."""
