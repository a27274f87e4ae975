"""Replicas driven by hand: inputs go in, and everything that they want done comes out as a list of effects."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, cast
from zlib import crc32

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, NamedRow
from gossip_counter.node.core.effects import Answer, Client, Commit, Send
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip.messages import Carrier, Delta, Gossip, Push
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Increment, Recovered
from gossip_counter.node.core.messages import Add, DeleteOk, ErrorReply, ReadOk, Reply, Request, Written
from gossip_counter.node.core.replica import Replica

MS = 1_000_000
WINDOW_NS = 1_000_000
"""The push window of the default settings."""

ME = Actor("n1.me")
X = Actor("x")
CONFIG = Config(name="n1", peers=("n2", "n3", "n4", "n5"))
CLUSTER_ID = ClusterId(7, True)
MOST_READIES = 100_000


class Wake(NamedTuple):
    """`ready` is to be called at this time at the latest."""

    at_ns: int


Effect = Answer | Send | Wake | Commit


# Making replicas.


def replica(seed: int = 1, actor: str = ME, stored: tuple[Stored, ...] = (), **settings: Any) -> Replica:
    """The node n1 of five, which goes on with an actor of known name."""
    return Replica(replace(CONFIG, **settings), Random(seed), 0, Recovered(Actor(actor), stored, CLUSTER_ID))


def members(count: int, **settings: Any) -> dict[str, Replica]:
    """Replicas n1, n2, …, each with the others as peers, whose actors are named after them."""
    names = [f"n{i}" for i in range(1, count + 1)]
    return {
        name: Replica(
            Config(name=name, peers=tuple(each for each in names if each != name), **settings),
            Random(seed),
            0,
            Recovered(Actor(f"{name}.actor"), cluster_id=CLUSTER_ID),
        )
        for seed, name in enumerate(names)
    }


def two(**settings: Any) -> tuple[Replica, Replica]:
    first, second = members(2, **settings).values()
    return first, second


# Driving them.


def drain(node: Replica, now_ns: int = 0) -> list[Effect]:
    """All that is to be done now, in order. A commit stays under way."""
    effects: list[Effect] = []
    for _ in range(MOST_READIES):
        ready = node.ready(now_ns)
        if ready is None:
            return effects
        effects += [*ready.replies, *ready.sends]
        effects += [Wake(ready.wake_ns)] if ready.wake_ns is not None else []
        effects += [ready.commit] if ready.commit else []
    raise AssertionError("there is always something to be done")


def step(node: Replica, message: Request | Gossip, client: Client = "c", now_ns: int = 0) -> list[Effect]:
    node.step(message, client, now_ns)
    return drain(node, now_ns)


def submit(node: Replica, request_id: object, *writes: Increment, client: Client = "c") -> list[Effect]:
    node.submit(client, request_id, writes)
    return drain(node)


def tick(node: Replica, now_ns: int = 0) -> list[Effect]:
    node.tick(now_ns)
    return drain(node, now_ns)


def begin(node: Replica, now_ns: int = 0) -> list[Effect]:
    node.begin(now_ns)
    return drain(node, now_ns)


def persisted(node: Replica, error: str | None = None, now_ns: int = 0) -> list[Effect]:
    """The commit that is under way has succeeded, or failed."""
    node.persisted(error)
    return drain(node, now_ns)


def is_committing(node: Replica) -> bool:
    """Whether a commit was under way, which has now succeeded."""
    try:
        node.persisted()
    except RuntimeError as error:
        assert str(error) == "nothing is being committed"
        return False
    return True


def settle(node: Replica, now_ns: int = 0) -> list[Effect]:
    """Let every commit succeed; all effects but the commits, replies without their tokens."""
    effects = drain(node, now_ns)
    while is_committing(node):
        effects += drain(node, now_ns)
    return bare(each for each in effects if not isinstance(each, Commit))


def add(node: Replica, delta: int, counter: str = "", msg_id: int = 1, now_ns: int = 0) -> list[Effect]:
    """Ask for an add and let it become durable at once."""
    node.step(Add(msg_id, delta, counter), "c", now_ns)
    return settle(node, now_ns)


def receive(node: Replica, message: Gossip, now_ns: int = 0) -> list[Effect]:
    """Take a peer's message and let what it brings become durable at once."""
    node.step(message, message.sender, now_ns)
    return settle(node, now_ns)


def fill(node: Replica, counters: int) -> list[Effect]:
    """Increment so many counters, each once."""
    node.submit("c", 0, [(f"c{i:05}", 1) for i in range(counters)])
    return settle(node)


# Looking at effects.


def replies(effects: Iterable[Effect]) -> list[Reply]:
    return [each.reply for each in effects if isinstance(each, Answer)]


def sends(effects: Iterable[Effect]) -> list[Send]:
    return [each for each in effects if isinstance(each, Send)]


def messages(effects: Iterable[Effect]) -> list[Gossip]:
    return [send.message for send in sends(effects)]


def commits(effects: Iterable[Effect]) -> list[Commit]:
    return [each for each in effects if isinstance(each, Commit)]


def wakes(effects: Iterable[Effect]) -> list[Wake]:
    return [each for each in effects if isinstance(each, Wake)]


def bare(effects: Iterable[Effect]) -> list[Effect]:
    """The same, replies without their tokens."""

    def without_token(effect: Effect) -> Effect:
        if not isinstance(effect, Answer):
            return effect
        if isinstance(effect.reply, Written):
            return Answer(effect.to, effect.reply._replace(token=None))
        if isinstance(effect.reply, ReadOk | DeleteOk):
            return Answer(effect.to, replace(effect.reply, token=None))
        return effect

    return [without_token(each) for each in effects]


def refusal(effects: Sequence[Effect]) -> ErrorReply:
    """The error that is all of these effects."""
    (effect,) = effects
    assert isinstance(effect, Answer)
    if isinstance(effect.reply, Written):  # a submitted write, all of whose adds were refused
        assert effect.reply.actor is None
        (why,) = {value for value in effect.reply.values if isinstance(value, RequestError)}
        return ErrorReply(effect.reply.in_reply_to, why.code, why.text)
    assert isinstance(effect.reply, ErrorReply)
    return effect.reply


def rows_in(message: Gossip) -> list[NamedRow]:
    return [named for delta in message.deltas for named in delta.rows] if isinstance(message, Carrier) else []


# What peers send.


def push_of(node: Replica, sender: str) -> Push:
    """What `sender` would push if it held just what `node` holds."""
    deltas = tuple(Delta(actor, None, ((counter, row),)) for actor, counter, row in node.state)
    return Push(sender, node.state.fingerprint, deltas)


def pushed(actor: Actor, since: int | None, *rows: NamedRow, sender: str = "n2", source_version: int = 0) -> Push:
    """A push of one delta."""
    return Push(sender, 1, (Delta(actor, since, rows, source_version),))


# Clusters.


def exchange(first: Replica, second: Replica) -> list[Gossip]:
    """One round begun by the first; every message, through datagrams and within the bounds of an answer."""
    sent: list[Gossip] = []
    under_way = [(second, first, message) for message in messages(ticked(first))]
    while under_way:
        to, source, message = under_way.pop(0)
        sent.append(message)
        for part in through_datagrams(message, source.config):
            under_way += [(source, to, answer) for answer in messages(receive(to, part))]
    return sent


def ticked(node: Replica, now_ns: int = 0) -> list[Effect]:
    """One round of gossip, after which all that was to be stored is durable."""
    node.tick(now_ns)
    return settle(node, now_ns)


def through_datagrams(message: Gossip, config: Config) -> list[Gossip]:
    """What arrives of a message, cut into datagrams."""
    packed = datagrams.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams)
    parts = [datagrams.unpack(each, config.cluster) for each in packed]
    assert all(isinstance(part, Gossip) for part in parts)
    return cast(list[Gossip], parts)


def packed(message: Gossip, cluster: str = "c", budget: int = 1200, most: int = 16) -> list[bytes]:
    """A message of a member of the cluster whose id is `CLUSTER_ID`, as datagrams."""
    return datagrams.pack_gossip(replace(message, cluster_id=CLUSTER_ID), cluster, budget, most)


def with_checksum(content: bytes) -> bytes:
    """These bytes as a datagram of gossip, well-formed or not."""
    return content + crc32(content).to_bytes(4, "big")


def deliver(nodes: dict[str, Replica], message: Gossip, to: Client) -> None:
    """Let a message arrive, and all that follows from it at once."""
    for send in sends(receive(nodes[str(to)], message)):
        for peer in send.to:
            deliver(nodes, send.message, peer)
