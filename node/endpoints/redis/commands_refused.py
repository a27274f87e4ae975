"""Commands of Redis that are not possible here, each refused with one sentence that says why.

Pure. The table of all commands is in `commands`. Those that would change a counter in a way that can't merge have
nothing to do where there is no such counter, and reply so. A command that is refused changes nothing, whatever it is.
"""

from gossip_counter.node.endpoints.redis.arguments import in_steps, integer, listed, shown
from gossip_counter.node.endpoints.redis.commands_keys import KEYS_A_STEP, value_at
from gossip_counter.node.endpoints.redis.context import ClientInfo, Handler, Node
from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, Error, Pieces, Reply, encode

_WHY_NOT = {
    "a counter has no value to set, since nodes that set different ones could never agree; use INCRBY and DECRBY": (
        "SET SETNX SETEX PSETEX GETSET MSET MSETNX APPEND SETRANGE SETBIT GETEX GETDEL RENAME COPY"
    ),
    "what one node deletes, another may be adding to; use another counter instead": (
        "DEL UNLINK FLUSHALL FLUSHDB EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST"
    ),
    "counters are whole numbers, whose sum is the same in any order": "INCRBYFLOAT",
    "there are no functions; use EVAL": "FCALL FCALL_RO FUNCTION",
}
"""By reason, commands of Redis that are refused."""


def unknown(words: list[bytes]) -> Error:
    """The reply to a command that is not in the table."""
    name = shown(words[0])
    if refused := _refused(name.upper()):
        return refused
    return Error(f"ERR unknown command '{name}', with args beginning with: {listed(words[1:])}")


def _refused(name: str) -> Error | None:
    for why, names in _WHY_NOT.items():
        if name in names.split():
            return Error(f"ERR {name} is not possible here: {why}")
    return None


def removes(name: str) -> Handler:
    """DEL key ..., and UNLINK: 0 if there are no such counters."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Pieces:
        for some in in_steps(words, KEYS_A_STEP):
            if any(value_at(node, key) is not None for key in some):
                yield encode(_refused(name), 2)
                return
            yield 0
        yield encode(0, 2)

    return handle


def persist(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """PERSIST key: 0 if there is no such counter."""
    return 0 if value_at(node, words[0]) is None else _refused("PERSIST")


def expires(name: str) -> Handler:
    """EXPIRE key time [NX|XX|GT|LT], PEXPIRE, EXPIREAT and PEXPIREAT: 0 if there is no such counter."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        options = [word.upper() for word in words[2:]]
        for option, word in zip(options, words[2:], strict=True):
            if option not in {b"NX", b"XX", b"GT", b"LT"}:
                return Error(f"ERR Unsupported option {shown(word)}")
        if b"NX" in options and len({*options}) > 1:
            return Error("ERR NX and XX, GT or LT options at the same time are not compatible")
        if {b"GT", b"LT"} <= {*options}:
            return Error("ERR GT and LT options at the same time are not compatible")
        try:
            integer(words[1])
        except ValueError:
            return NOT_AN_INTEGER
        return 0 if value_at(node, words[0]) is None else _refused(name)

    return handle
