"""CLIENT and its subcommands: facts about connections, and ending them.

Pure. The table of all commands is in `commands`.
"""

from collections.abc import Callable

from gossip_counter.node.endpoints.redis.arguments import in_steps, integer, shown
from gossip_counter.node.endpoints.redis.commands_connection import bad_name
from gossip_counter.node.endpoints.redis.context import ClientInfo, Connected, Node
from gossip_counter.node.endpoints.redis.replies import SYNTAX, Error, Pieces, Reply, Verbatim, encode

CLIENTS_A_STEP = 64
"""Clients that one command looks at before others are served."""

_TYPES = {b"normal": True, b"master": False, b"replica": False, b"slave": False, b"pubsub": False}
"""By type that Redis knows, whether clients here are of it."""

Test = Callable[[ClientInfo], bool]


def id_(client: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """CLIENT ID."""
    return client.id


def getname(client: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """CLIENT GETNAME."""
    return client.name.encode() or None


def setname(client: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """CLIENT SETNAME name."""
    if error := bad_name(words[0]):
        return error
    client.name = words[0].decode()
    return "OK"


def setinfo(client: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """CLIENT SETINFO LIB-NAME|LIB-VER text."""
    attribute, text = words[0].upper(), words[1]
    if attribute not in {b"LIB-NAME", b"LIB-VER"}:
        return Error(f"ERR Unrecognized option '{shown(words[0])}'")
    if bad_name(text):
        return Error(f"ERR {shown(attribute).lower()} cannot contain spaces, newlines or special characters.")
    if attribute == b"LIB-NAME":
        client.library_name = text.decode()
    else:
        client.library_version = text.decode()
    return "OK"


def no_evict(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """CLIENT NO-EVICT ON|OFF, and NO-TOUCH: there is nothing to switch."""
    return "OK" if words[0].upper() in {b"ON", b"OFF"} else SYNTAX


def info(client: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """CLIENT INFO."""
    found = next(each for each in node.clients.connected if each.client is client)
    return Verbatim(_described(found, node.clients.second))


def _described(connected: Connected, second: int) -> bytes:
    """One line of CLIENT LIST."""
    client, (queued, blocked) = connected.client, connected.buffered()
    multi = len(client.queued.commands) if client.queued else -1
    last = client.last_command.decode().lower() or "NULL"
    return (
        f"id={client.id} addr={client.address} laddr={client.local_address} name={client.name}"
        f" age={second - client.since} idle={second - client.seen} flags=N db=0 sub=0 psub=0 ssub=0 multi={multi}"
        f" qbuf={queued} omem={blocked} cmd={last} user=default redir=-1 resp={client.protocol}"
        f" lib-name={client.library_name} lib-ver={client.library_version}\n"
    ).encode()


def list_(client: ClientInfo, node: Node, words: list[bytes]) -> Reply | Pieces:
    """CLIENT LIST [TYPE type] [ID id ...]."""
    test: Test = _any
    match [word.upper() for word in words]:
        case []:
            pass
        case [b"TYPE", _]:
            is_here = _TYPES.get(words[1].lower())
            if is_here is None:
                return _unknown_type(words[1])
            test = _any if is_here else _none
        case [b"ID", _, *_]:
            try:
                ids = {integer(word) for word in words[1:]}
            except ValueError:
                return Error("ERR Invalid client ID")
            test = lambda each: each.id in ids  # noqa: E731
        case _:
            return SYNTAX
    return _list(client, node, test)


def _list(client: ClientInfo, node: Node, test: Test) -> Pieces:
    clients = list(node.clients.connected)
    yield 8 * len(clients)
    lines = list[bytes]()
    for some in in_steps(clients, CLIENTS_A_STEP):
        lines.append(b"".join([_described(each, node.clients.second) for each in some if test(each.client)]))
        yield len(lines[-1])
    size = sum(map(len, lines))
    yield b"=%d\r\ntxt:" % (size + 4) if client.protocol == 3 else b"$%d\r\n" % size
    yield from lines
    yield b"\r\n"


def kill(client: ClientInfo, node: Node, words: list[bytes]) -> Reply | Pieces:
    """CLIENT KILL address, or CLIENT KILL filter value [filter value ...]."""
    if len(words) == 1:
        return _kill(client, node, [_by_address(words[0])], is_by_filter=False)
    if len(words) % 2:
        return SYNTAX
    tests, skips_me = list[Test](), True
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name.upper() == b"SKIPME":
            if value.lower() not in {b"yes", b"no"}:
                return SYNTAX
            skips_me = value.lower() == b"yes"
            continue
        test = _filter(name.upper(), value)
        if isinstance(test, Error):
            return test
        tests.append(test)
    if skips_me:
        tests.append(lambda each: each is not client)
    return _kill(client, node, tests, is_by_filter=True)


def _filter(name: bytes, value: bytes) -> Test | Error:  # noqa: PLR0911 one for each filter
    match name:
        case b"ID":
            try:
                number = _id(value)
            except ValueError:
                return Error("ERR client-id should be greater than 0")
            return lambda each: each.id == number
        case b"ADDR":
            return _by_address(value)
        case b"LADDR":
            return lambda each: each.local_address.encode() == value
        case b"TYPE":
            is_here = _TYPES.get(value.lower())
            return _unknown_type(value) if is_here is None else _any if is_here else _none
        case b"USER":
            return _any if value == b"default" else Error(f"ERR No such user '{shown(value)}'")
    return SYNTAX


def _kill(client: ClientInfo, node: Node, tests: list[Test], is_by_filter: bool) -> Pieces:
    """End the connections that pass all tests; this one after the reply."""
    killed = 0
    for some in in_steps(list(node.clients.connected), CLIENTS_A_STEP):
        for each in some:
            if all(test(each.client) for test in tests):
                killed += 1
                if each.client is client:
                    client.quits = True
                else:
                    each.abort()
        yield 0
    yield encode(killed if is_by_filter else "OK" if killed else Error("ERR No such client"), 2)


def _by_address(address: bytes) -> Test:
    return lambda each: each.address.encode() == address


def _any(_: ClientInfo) -> bool:
    return True


def _none(_: ClientInfo) -> bool:
    return False


def _id(word: bytes) -> int:
    """A number of a client. Raises `ValueError`."""
    number = integer(word)
    if number < 1:
        raise ValueError("a client's number is at least 1")
    return number


def _unknown_type(word: bytes) -> Error:
    return Error(f"ERR Unknown client type '{shown(word)}'")
