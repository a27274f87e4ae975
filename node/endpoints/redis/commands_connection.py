"""Commands about the connection itself: greeting, password, name, end.

Pure. The table of all commands is in `commands`.
"""

from hmac import compare_digest

from gossip_counter.node.endpoints.redis.arguments import integer, shown, wrong_arity
from gossip_counter.node.endpoints.redis.commands_transactions import drop
from gossip_counter.node.endpoints.redis.context import ClientInfo, Node
from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, SYNTAX, Error, Reply

WRONG_PASSWORD = Error("WRONGPASS invalid username-password pair or user is disabled.")
_NO_AUTH_IN_HELLO = Error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>"
    " option can be used to authenticate the client and select the RESP protocol version at the same time"
)


def ping(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """PING [text]."""
    if len(words) > 1:
        return wrong_arity(b"ping")
    return words[0] if words else "PONG"


def echo(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """ECHO text."""
    return words[0]


def quit_(client: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """QUIT."""
    client.quits = True
    return "OK"


def select(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    """SELECT 0."""
    try:
        return "OK" if integer(words[0]) == 0 else Error("ERR DB index is out of range")
    except ValueError:
        return NOT_AN_INTEGER


def reset(client: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """RESET: the connection is as it was when new."""
    drop(client, node)
    client.protocol, client.name, client.authenticated = 2, "", node.password is None
    return "RESET"


def hello(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """HELLO [protocol [AUTH user password] [SETNAME name]]."""
    if words:
        try:
            wanted = integer(words[0])
        except ValueError:
            return Error("ERR Protocol version is not an integer or out of range")
        if wanted not in (2, 3):
            return Error("NOPROTO unsupported protocol version")
        if error := _apply_options(client, node, wanted, words[1:]):
            return error
    if not client.authenticated:
        return _NO_AUTH_IN_HELLO
    return {
        "server": b"gossip-counter",
        "version": node.version.encode(),
        "proto": client.protocol,
        "id": client.id,
        "mode": b"standalone",
        "role": b"master",
        "modules": [],
    }


def _apply_options(client: ClientInfo, node: Node, protocol: int, options: list[bytes]) -> Error | None:
    """Apply all options of HELLO, or none and return why."""
    name, authenticated = client.name, client.authenticated
    at = 0
    while at < len(options):
        match options[at].upper(), len(options) - at:
            case b"SETNAME", n if n >= 2:
                error, name, at = bad_name(options[at + 1]), options[at + 1].decode(errors="replace"), at + 2
            case b"AUTH", n if n >= 3:
                error, authenticated, at = _wrong(node, options[at + 1], options[at + 2]), True, at + 3
            case _:
                error = Error(f"ERR Syntax error in HELLO option '{shown(options[at])}'")
        if error:
            return error
    if authenticated:
        client.protocol, client.name, client.authenticated = protocol, name, True
    return None


def auth(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """AUTH [user] password."""
    if len(words) > 2:
        return SYNTAX
    if node.password is None and len(words) == 1:
        return Error(
            "ERR AUTH <password> called without any password configured for the default user."
            " Are you sure your configuration is correct?"
        )
    if error := _wrong(node, words[0] if len(words) == 2 else b"default", words[-1]):
        return error
    client.authenticated = True
    return "OK"


def _wrong(node: Node, user: bytes, password: bytes) -> Error | None:
    """The error if that is not the password. The time this takes does not depend on the right one."""
    right = node.password
    if user == b"default" and (right is None or compare_digest(password, right)):
        return None
    return WRONG_PASSWORD


def bad_name(name: bytes) -> Error | None:
    """The error if a client must not be called so."""
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        return Error("ERR Client names cannot contain spaces, newlines or special characters.")
    return None
