"""Commands about the server: facts, settings, time.

Pure. The table of all commands is in `commands`, as are COMMAND and its subcommands, which list that table.
"""

from gossip_counter.node.endpoints.redis.arguments import shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Node
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.replies import Error, Reply, Verbatim


def info(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """INFO [section ...]."""
    wanted = {shown(word).lower() for word in words} - {"all", "default", "everything"}
    lines = []
    for section, facts in node.info().items():
        if not wanted or section.lower() in wanted:
            lines += [f"# {section}", *(f"{name}:{value}" for name, value in facts.items()), ""]
    return Verbatim("\r\n".join(lines).encode())


def config_get(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """CONFIG GET pattern ..."""
    try:
        patterns = [matching(pattern.lower()) for pattern in words]
    except ValueError as error:
        return Error(f"ERR {error}")
    return {
        name: value.encode()
        for name, value in node.settings.items()
        if any(matches(name.encode()) for matches in patterns)
    }


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
