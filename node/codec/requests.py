"""Bodies <-> requests and replies. A body is a map and means the same in msgpack and in JSON.

Pure. A field that is missing, of the wrong type or out of range is refused with error 12 and a text that names the
field and its limit. An unknown type is refused with error 10. Unknown fields are ignored: Maelstrom adds some.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gossip_counter.node.core import limits, tokens
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, RequestError
from gossip_counter.node.core.gossip.messages import Delta, Replicate
from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.messages import (
    DEFAULT_COUNTER,
    Add,
    Delete,
    DeleteOk,
    ErrorReply,
    GossipStatus,
    GossipStatusOk,
    Init,
    InitOk,
    Leave,
    LeaveOk,
    ListMembers,
    MembersOk,
    Read,
    ReadOk,
    Remove,
    RemoveOk,
    Reply,
    Request,
    Written,
)

Body = Mapping[object, object]

_REPLY_TYPES: dict[type[Reply], str] = {
    InitOk: "init_ok",
    Written: "add_ok",
    DeleteOk: "delete_ok",
    ReadOk: "read_ok",
    GossipStatusOk: "gossip_status_ok",
    MembersOk: "members_ok",
    LeaveOk: "leave_ok",
    RemoveOk: "remove_ok",
    ErrorReply: "error",
}
_TERMS = frozenset({"expire_ms", "expire_if_new", "lower", "upper"})
_LEFT_OUT = ("token", "deadline")
"""Fields of replies that are left out where there is none."""


def parse(body: Body) -> Request:
    """The request that a body holds. Raises `RequestError`, which carries the `msg_id` if the body has a usable one."""
    msg_id = answerable(body)
    try:
        match body.get("type"):
            case "add":
                delta = limits.whole(_field(body, "delta"), "delta", -limits.MAX_COUNT, limits.MAX_COUNT)
                copies = limits.whole(body.get("copies", 1), "copies", 1, limits.MAX_COPIES)
                terms = None if _TERMS.isdisjoint(body) else _terms(body, delta)
                return Add(msg_id, delta, _counter(body), copies, terms)
            case "delete":
                return Delete(msg_id, _counter(body))
            case "read":
                given = body.get("token")
                return Read(msg_id, _counter(body), None if given is None else tokens.parse(given))
            case "gossip_status":
                return GossipStatus(msg_id, _counter(body))
            case other:
                return _parse_about_members(other, body, msg_id)
    except ValueError as error:
        raise RequestError(MALFORMED, str(error), msg_id) from None


def _parse_about_members(kind: object, body: Body, msg_id: int) -> Request:
    match kind:
        case "members":
            return ListMembers(msg_id, limits.name(body.get("after", ""), "after"))
        case "leave":
            return Leave(msg_id)
        case "remove":
            return Remove(msg_id, limits.nonempty_name(_field(body, "name"), "name"))
    raise _unsupported(kind, msg_id)


def parse_init(body: Body) -> Init:
    """The `init` that a body holds. Raises `RequestError`."""
    msg_id = answerable(body)
    try:
        node_id = limits.nonempty_name(_field(body, "node_id"), "node_id")
        listed = _field(body, "node_ids")
        if not isinstance(listed, list | tuple):
            raise ValueError(f"node_ids must be an array of names, not {limits.kind(listed)}")
        node_ids = tuple(limits.nonempty_name(each, "each of node_ids") for each in listed)
    except ValueError as error:
        raise RequestError(MALFORMED, str(error), msg_id) from None
    return Init(msg_id, node_id, node_ids)


def parse_replicate(body: Body, sender: str) -> Replicate:
    """The full state that a `replicate` body holds: the default counter, and named ones in the optional `counters`.

    Any node id is an actor, be it a member's or not. Raises `RequestError`.
    """
    try:
        vectors = {DEFAULT_COUNTER: _vectors(body, "")}
        named = body.get("counters", {})
        if not isinstance(named, Mapping):
            raise ValueError(f"counters must be a map, not {limits.kind(named)}")
        for counter, each in named.items():
            if not isinstance(each, Mapping):
                raise ValueError(f"each of counters must be a map, not {limits.kind(each)}")
            vectors[limits.name(counter, "each name in counters")] = _vectors(each, "counters: ")
    except ValueError as error:
        raise RequestError(MALFORMED, str(error), message_id(body)) from None
    deltas = tuple(
        Delta(Actor(node), None, ((counter, Row(p.get(node, 0), n.get(node, 0))),))
        for counter, (p, n) in vectors.items()
        for node in p | n
    )
    return Replicate(sender, None, deltas)


def replicate_body(message: Replicate) -> dict[str, Any]:
    """The body of a `replicate`. Named counters stand in a field that plain PN-Counter nodes ignore."""
    vectors: dict[str, dict[str, Any]] = {DEFAULT_COUNTER: _no_vectors()}
    for delta in message.deltas:
        for counter, row in delta.rows:
            p_and_n = vectors.setdefault(counter, _no_vectors())
            p_and_n["p_counters"][delta.actor] = row.p
            p_and_n["n_counters"][delta.actor] = row.n
    body = {"type": "replicate", **vectors.pop(DEFAULT_COUNTER)}
    return body | {"counters": vectors} if vectors else body


def reply_body(reply: Reply, msg_id: int) -> dict[str, Any]:
    """The body of a reply, its fields in the protocol's order: type, in_reply_to, the reply's own, msg_id."""
    body: dict[str, Any] = {"type": _REPLY_TYPES[type(reply)]}
    if isinstance(reply, Written):  # the hot path
        body["in_reply_to"] = reply.in_reply_to
        body["token"] = reply.token
    else:
        body.update((each.name, getattr(reply, each.name)) for each in fields(reply))
        body.update(body.pop("stats", {}))
    for name in _LEFT_OUT:
        if body.get(name, "") is None:
            del body[name]
    body["msg_id"] = msg_id
    return body


def message_id(body: Body) -> int | None:
    """The body's `msg_id`; None if it has no usable one or is itself a reply, and so must not be answered.

    Two nodes that answered each other's replies would never stop.
    """
    if "in_reply_to" in body:
        return None
    msg_id = body.get("msg_id")
    return msg_id if type(msg_id) is int and 0 <= msg_id <= limits.MAX_COUNT else None


def answerable(body: Body) -> int:
    """The `msg_id` of a request. Raises `RequestError`, without a `msg_id`, if the body must not be answered."""
    msg_id = message_id(body)
    if msg_id is None:
        raise RequestError(MALFORMED, f"a request needs a msg_id from 0 to {limits.MAX_COUNT} and no in_reply_to")
    return msg_id


def _unsupported(kind: object, msg_id: int) -> RequestError:
    if type(kind) is not str:
        return RequestError(MALFORMED, f"type must be a string, not {limits.kind(kind)}", msg_id)
    return RequestError(NOT_SUPPORTED, f"type {kind[:40]!r} is not supported here", msg_id)


def _field(body: Body, name: str) -> object:
    if name not in body:
        raise ValueError(f"{name} is missing")
    return body[name]


def _counter(body: Body) -> str:
    return limits.name(body.get("counter", DEFAULT_COUNTER), "counter")


def _terms(body: Body, delta: int) -> Increase:
    """An add with bounds and an expiry."""
    lasts_ms = limits.whole(body["expire_ms"], "expire_ms", 1, limits.MAX_COUNT) if "expire_ms" in body else None
    only_if_unset = body.get("expire_if_new", False)
    if type(only_if_unset) is not bool:
        raise ValueError(f"expire_if_new must be a boolean, not {limits.kind(only_if_unset)}")
    if only_if_unset and not lasts_ms:
        raise ValueError("expire_if_new needs expire_ms")
    lower, upper = (
        limits.whole(body.get(name, most), name, -limits.MAX_COUNT, limits.MAX_COUNT)
        for name, most in (("lower", -limits.MAX_COUNT), ("upper", limits.MAX_COUNT))
    )
    if lower > upper:
        raise ValueError(f"lower ({lower}) must not be above upper ({upper})")
    return Increase(delta, lower, upper, lasts_ms=lasts_ms, only_if_unset=only_if_unset)


def _vectors(body: Body, where: str) -> tuple[dict[str, int], dict[str, int]]:
    return _vector(body, "p_counters", where), _vector(body, "n_counters", where)


def _vector(body: Body, name: str, where: str) -> dict[str, int]:
    vector = _field(body, name)
    if not isinstance(vector, Mapping):
        raise ValueError(f"{where}{name} must be a map, not {limits.kind(vector)}")
    return {
        limits.nonempty_name(node, f"{where}each node in {name}"): limits.count(total, f"{where}each total in {name}")
        for node, total in vector.items()
    }


def _no_vectors() -> dict[str, Any]:
    return {"p_counters": {}, "n_counters": {}}
