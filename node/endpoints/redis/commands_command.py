"""COMMAND and ACL CAT, which list the table of all commands.

Pure. The table itself is in `commands`, and is passed to what needs it here.
"""

from collections.abc import Callable, Iterable

from gossip_counter.node.endpoints.redis.arguments import fits, in_steps, shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Command, Node
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.replies import (
    SYNTAX,
    Error,
    Pieces,
    Reply,
    encode_all,
    head,
    map_head,
)

COMMANDS_A_STEP = 8
"""Commands that are described before others are served."""

_OF_FLAG = {"readonly": ["read"], "write": ["write"], "admin": ["admin", "dangerous"]}
_OF_GROUP = {"string": ["string"], "generic": ["keyspace"], "connection": ["connection"]}

Table = dict[bytes, Command]


def categories(command: Command) -> list[str]:
    """The categories of ACL that a command is in."""
    speed = "fast" if "fast" in command.flags else "slow"
    return [*(each for flag in command.flags for each in _OF_FLAG.get(flag, [])),
            *_OF_GROUP.get(command.group, []), speed]  # fmt: skip


def acl_cat(table: Table, words: list[bytes]) -> Reply:
    """ACL CAT [category]."""
    if not words:
        return [each.encode() for each in dict.fromkeys(each for found in table.values() for each in categories(found))]
    wanted = shown(words[0]).lower()
    found = [name.lower() for name, command in table.items() if wanted in categories(command)]
    return found or Error(f"ERR Unknown category '{shown(words[0])}'")


def subcommands(table: Callable[[], Table]) -> Table:
    """Those of COMMAND."""

    def count(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
        return len(table())

    def list_(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
        return _listed(table(), words)

    def docs(client: ClientInfo, _: Node, words: list[bytes]) -> Pieces:
        asked = dict.fromkeys(word.upper() for word in words) or table()
        return _docs(client, [(name, table()[name]) for name in asked if name in table()])

    def info(client: ClientInfo, _: Node, words: list[bytes]) -> Pieces:
        return described(client, table(), words)

    def getkeys(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
        return _keys(table().get(words[0].upper()), words)

    return {
        b"COUNT": Command(count, 2, "How many commands there are"),
        b"DOCS": Command(docs, -2, "What commands do"),
        b"GETKEYS": Command(getkeys, -4, "Which arguments of a command are keys"),
        b"INFO": Command(info, -2, "Arity, flags and keys of commands"),
        b"LIST": Command(list_, -2, "The names of all commands, or of those of a FILTERBY"),
    }


def described(client: ClientInfo, table: Table, words: list[bytes]) -> Pieces:
    """COMMAND, and COMMAND INFO [name ...]."""
    asked = [name.upper() for name in words] or list(table)
    yield head(len(asked))
    for some in in_steps(asked, COMMANDS_A_STEP):
        yield encode_all([_described(name, table[name]) if name in table else None for name in some], client.protocol)


def _described(name: bytes, command: Command) -> Reply:
    """Name, arity, flags, first key, last key, step; and categories, tips, keys, subcommands, which Redis 7 adds."""
    about = [f"@{each}" for each in categories(command)]
    return [name.lower(), command.arity, list(command.flags), *command.keys, about, [], [], []]


def _docs(client: ClientInfo, asked: list[tuple[bytes, Command]]) -> Pieces:
    yield map_head(len(asked), client.protocol)
    for some in in_steps(asked, COMMANDS_A_STEP):
        parts = [part for name, each in some for part in (name.lower(), _doc(each))]
        yield encode_all(parts, client.protocol)


def _doc(command: Command) -> Reply:
    return {"summary": command.summary.encode(), "group": command.group.encode()}


def _listed(table: Table, words: list[bytes]) -> Reply:
    """COMMAND LIST [FILTERBY MODULE module|ACLCAT category|PATTERN pattern]."""
    names: Iterable[bytes]
    match [word.upper() for word in words[:2]], words[2:]:
        case [], []:
            names = table
        case [b"FILTERBY", b"MODULE"], [_]:
            names = []
        case [b"FILTERBY", b"ACLCAT"], [category]:
            names = [name for name, each in table.items() if shown(category).lower() in categories(each)]
        case [b"FILTERBY", b"PATTERN"], [pattern]:
            try:
                matches = matching(pattern.lower())
            except ValueError as error:
                return Error(f"ERR {error}")
            names = [name for name in table if matches(name.lower())]
        case _:
            return SYNTAX
    return [name.lower() for name in names]


def _keys(command: Command | None, words: list[bytes]) -> Reply:
    """COMMAND GETKEYS command argument ..."""
    if command is None:
        return Error("ERR Invalid command specified")
    if not command.keys[0]:
        return Error("ERR The command has no key arguments")
    if not fits(command.arity, len(words)):
        return Error("ERR Invalid number of arguments specified for command")
    return command.keys_of(words)
