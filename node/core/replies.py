"""What is replied to a write that has waited: it is durable now, or was refused.

Pure.
"""

from collections.abc import Sequence

from gossip_counter.node.core.batch import Pending
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.increases import Outcome
from gossip_counter.node.core.messages import DeleteOk, ErrorReply, Written


def accepted(values: Sequence[Outcome]) -> int:
    """How many adds of a write were not refused."""
    return sum(not isinstance(each, RequestError) for each in values)


def written(pending: Pending, actor: Actor, version: int, token: str | None = None) -> Written | DeleteOk | ErrorReply:
    """The reply to a write whose commit is done, as what `actor` wrote up to `version`."""
    if pending.error:
        return refused(pending, pending.error)
    if pending.existed is not None:
        return DeleteOk(pending.request_id, pending.existed, token)
    return Written(pending.request_id, pending.values, None if pending.is_reapplied else actor, version, token)


def refused(pending: Pending, error: RequestError) -> Written | ErrorReply:
    """The reply to a write that never counts. Of a submitted one, adds that had been refused keep their own reason."""
    if pending.is_request:
        return ErrorReply(pending.request_id, error.code, error.text)
    values = [each if isinstance(each, RequestError) else error for each in pending.values]
    return Written(pending.request_id, values, None, 0)
