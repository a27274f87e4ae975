"""Commands about the server: facts, settings, time.

Pure. The table of all commands is in `commands`, as are COMMAND and its subcommands, which list that table.
"""

from hashlib import sha256

from gossip_counter.node.endpoints.redis.arguments import integer, shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Node
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.replies import Error, Pieces, Reply, Verbatim, encode

COMMAND_STATS = "Commandstats"


def info(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """INFO [section ...]. Calls of each command are shown to those who ask for them, or for all."""
    wanted = {shown(word).lower() for word in words} or {"default"}
    shows_all, shows_default = bool(wanted & {"all", "everything"}), "default" in wanted
    lines = []
    for section, facts in (node.info() | {COMMAND_STATS: _command_stats(node)}).items():
        if shows_all or section.lower() in wanted or (shows_default and section != COMMAND_STATS):
            lines += [f"# {section}", *(f"{name}:{value}" for name, value in facts.items()), ""]
    return Verbatim("\r\n".join(lines).encode())


def _command_stats(node: Node) -> dict[str, object]:
    return {f"cmdstat_{name.decode().lower()}": f"calls={calls}" for name, calls in node.clients.calls.items()}


def config_get(client: ClientInfo, node: Node, words: list[bytes]) -> Pieces:
    """CONFIG GET pattern ..., one pattern a step."""
    found: dict[str, Reply] = {}
    for word in words:
        try:
            matches = matching(word.lower())
        except ValueError as error:
            yield encode(Error(f"ERR {error}"), client.protocol)
            return
        found |= {name: value.encode() for name, value in node.settings.items() if matches(name.encode())}
        yield 0
    yield encode(found, client.protocol)


def config_resetstat(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """CONFIG RESETSTAT."""
    node.clients.reset_stats()
    return "OK"


def nothing(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """MODULE LIST, LATENCY LATEST and LATENCY HISTORY: there are none."""
    return []


def zero(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """SLOWLOG LEN and LATENCY RESET: there is nothing."""
    return 0


def slowlog_get(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """SLOWLOG GET [count]: none is kept."""
    try:
        is_count = not words or integer(words[0]) >= -1
    except ValueError:
        is_count = False
    return [] if is_count else Error("ERR count should be greater than or equal to -1")


def slowlog_reset(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """SLOWLOG RESET: none is kept."""
    return "OK"


def latency_doctor(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """LATENCY DOCTOR."""
    return Verbatim(b"Latency is not monitored here. The metrics show how long commits take (counter-node --metrics).")


def lastsave(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """LASTSAVE: whatever was replied to is on the disk now."""
    return node.time_us() // 1_000_000


def acl_whoami(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """ACL WHOAMI: there is one user."""
    return b"default"


def acl_users(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """ACL USERS."""
    return [b"default"]


def acl_list(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """ACL LIST: the user, with the hash of the password, as Redis lists it."""
    password = "nopass" if node.password is None else f"#{sha256(node.password).hexdigest()}"
    return [f"user default on {password} ~* &* +@all".encode()]


def time(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """TIME."""
    seconds, micros = divmod(node.time_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


def role(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """ROLE."""
    return [b"master", 0, []]


def cluster(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """CLUSTER ..."""
    return Error("ERR This instance has cluster support disabled")
