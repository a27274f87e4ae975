"""Bytes of Redis clients at one node.

The control byte of an item, which is one read, from its lowest bit: which of two clients sends it (1 bit), how often it
is cut (2), whether time passes after it (1), whether the client goes away then (3, only if all are set).
"""

from collections.abc import Sequence

from gossip_counter.bench.fuzz.items import Item, split
from gossip_counter.bench.fuzz.redis_client import Connection, RedisNode
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.endpoints.redis.parser import AUTHENTICATED, Parser
from gossip_counter.node.endpoints.redis.replies import Error

LEAP_MS = 700
ALIVE = b"*2\r\n$4\r\nINCR\r\n$5\r\nalive\r\n"
TYPED = """PING|ECHO x|HELLO 3|HELLO 2|SET a 5|SET a 5 EX 1|SET a 1 NX GET|GET a|INCR a|INCRBY a -3|DECR a
DECRBY a 2|DEL a b|EXPIRE a 1|PEXPIRE a 300 NX|TTL a|PERSIST a|EXPIREAT a 1700000001|GETDEL a
GETEX a PX 20|GETSET a 7|MGET a b|MSET a 1 b 2|SETNX c 1|INCREX a 3 EX 2|INCREX a BYINT 5 UBOUND 9
EXISTS a b|KEYS *|SCAN 0 MATCH a* COUNT 5|DBSIZE|TYPE a|RANDOMKEY|RENAME a b|TOUCH a|MULTI|EXEC|DISCARD
WATCH a|UNWATCH|EVAL "return redis.call('INCR', KEYS[1])" 1 a|EVAL "return {1,{2,'x'},false}" 0
EVALSHA 0 0|SCRIPT LOAD "return 1"|SCRIPT EXISTS 0|CLIENT ID|CLIENT SETNAME x|CLIENT LIST|CLIENT INFO
CLIENT REPLY OFF|CLIENT REPLY ON|COMMAND COUNT|COMMAND DOCS get|COMMAND INFO get|CONFIG GET *|INFO
WAIT 1 1|SELECT 0|AUTH x|TIME|FLUSHALL|SUBSCRIBE x|STRLEN a|APPEND a 1|INCRBYFLOAT a 1|OBJECT ENCODING a
MEMORY USAGE a|RESET|QUIT|DEBUG SLEEP 0|UNLINK a"""


def command(words: Sequence[bytes]) -> bytes:
    """A command as client libraries send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def samples() -> list[Item]:
    """Commands as libraries send them, and as they are typed."""
    lines = [line.encode() for group in TYPED.split("\n") for line in group.split("|")]
    as_sent = [command(words) for line in lines for words in Parser().feed(line + b"\r\n", AUTHENTICATED)]
    many = [b"".join(as_sent[at : at + 6]) for at in range(0, len(as_sent), 6)]
    return [Item(0, each) for each in (*as_sent, *(line + b"\r\n" for line in lines[::5]), *many)]


def try_redis(data: bytes) -> int:
    """Reads of two clients. Returns how many bytes there were."""
    node = RedisNode()
    clients, sent, size = [Connection(node), Connection(node)], [bytearray(), bytearray()], 0
    for item in split(data):
        which = item.control & 1
        size += len(item.content)
        if clients[which].session.is_open:
            for piece in _pieces(item):
                if clients[which].arrives(piece):
                    sent[which] += piece
        if item.control & 8:
            node.pass_time(LEAP_MS)
        if item.control & 0x70 == 0x70 or not clients[which].session.is_open:
            clients[which].take()
            node.scheduler.disconnect(clients[which].session)
            _check_commands(bytes(sent[which]))
            clients[which], sent[which] = Connection(node), bytearray()
    for client, each in zip(clients, sent, strict=True):
        client.take()
        _check_commands(bytes(each))
    recomputed.check(node.replica.state)
    last = Connection(node)
    last.arrives(ALIVE)
    reply = last.take()
    check(len(reply) == 1 and type(reply[0]) is int, "an add is not acknowledged:", reply)
    return size


def _pieces(item: Item) -> list[bytes]:
    cuts = 1 + (item.control >> 1 & 3)
    size = len(item.content) // cuts + 1
    return [item.content[at : at + size] for at in range(0, len(item.content), size)]


def _check_commands(data: bytes) -> None:
    """The same commands, wherever reads cut them; and each, sent anew as libraries do, is the same command."""
    whole = Parser().feed(data, AUTHENTICATED)
    half, parser = len(data) // 2, Parser()
    found = parser.feed(data[:half], AUTHENTICATED)
    if not (found and isinstance(found[-1], Error)):
        found += parser.feed(data[half:], AUTHENTICATED)
    check(found == whole, "cut in two, these are other commands:", data)
    words = [each for each in whole if not isinstance(each, Error)]
    check(Parser().feed(b"".join(map(command, words)), AUTHENTICATED) == words, "sent anew, they are others:", data)
