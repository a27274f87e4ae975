"""What clients ask: each request is passed to the part that answers it, or refused.

Pure. A request is answered through the outbox, at once or later. After an error nothing has changed.
"""

from collections.abc import Callable, Sequence

from gossip_counter.node.core.acks import Acks
from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.batch import Pending
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.leaving import Leaving
from gossip_counter.node.core.member_changes import MemberChanges
from gossip_counter.node.core.messages import (
    Add,
    CountCopies,
    Delete,
    DeleteOk,
    ErrorReply,
    GossipStatus,
    Leave,
    ListMembers,
    MembersOk,
    Read,
    Remove,
    Request,
    Written,
)
from gossip_counter.node.core.reads import Reads
from gossip_counter.node.core.standing_list import Page
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.status import Status
from gossip_counter.node.core.tokens import Issuer
from gossip_counter.node.core.writes import Write, Writes


class ClientRequests:
    """The clients' side of a replica."""

    def __init__(
        self,
        stats: Stats,
        admission: Admission,
        commits: Commits,
        writes: Writes,
        acks: Acks,
        reads: Reads,
        tokens: Issuer,
        outbox: Outbox,
        status: Callable[[int, str], Status],
        advance_clock: Callable[[int], None],
        member_changes: MemberChanges,
        leaving: Leaving,
        list_members: Callable[[int, str], Page],
    ) -> None:
        """`status` takes the time and the name of a counter; `advance_clock` lets what is over at a time end;
        `list_members` takes the time and a name.
        """
        self._stats = stats
        self._admission = admission
        self._commits = commits
        self._writes = writes
        self._acks = acks
        self._reads = reads
        self._tokens = tokens
        self._outbox = outbox
        self._status = status
        self._advance_clock = advance_clock
        self._member_changes = member_changes
        self._leaving = leaving
        self._list_members = list_members

    def answer(self, request: Request, client: Client, now_ns: int) -> None:
        """Answer a request, be it with an error; an add or a delete once it is durable."""
        try:
            match request:
                case Add():
                    self._add(request, client, now_ns)
                case Delete():
                    self._delete(request, client, now_ns)
                case Read():
                    self._reads.read(request, client, now_ns)
                case GossipStatus():
                    self._outbox.reply(client, self._status(now_ns, request.counter).as_reply(request.msg_id))
                case CountCopies():
                    self._acks.count(request, client, now_ns)
                case ListMembers():
                    self._outbox.reply(client, MembersOk(request.msg_id, *self._list_members(now_ns, request.after)))
                case Leave():
                    self._leaving.ask(request, client, now_ns)
                case Remove():
                    self._member_changes.remove(request, client, now_ns)
        except RequestError as error:
            self.refuse(client, request.msg_id, error)

    def submit(self, client: Client, request_id: object, writes: Sequence[Write]) -> None:
        """Take a write of many adds."""
        values = self._writes.put(writes)
        self._commits.wait(Pending(client, request_id, values))

    def refuse(self, client: Client, request_id: object, error: RequestError) -> None:
        """Answer with an error."""
        self._stats.requests_refused += 1
        self._outbox.reply(client, ErrorReply(request_id, error.code, error.text))

    def _add(self, add: Add, client: Client, now_ns: int) -> None:
        """Take a write of one add; to add 0 is none, unless it sets a deadline, and is answered at once."""
        if add.copies > 1:
            self._admission.check_copies(add.copies)
        self._stats.adds += 1
        if add.terms:
            self._advance_clock(now_ns)
            self._writes.add_on_terms(add.counter, add.terms)
        elif add.delta:
            self._writes.add(add.counter, add.delta)
        if add.delta or self._commits.is_waiting(add.counter):
            self._commits.wait(Pending(client, add.msg_id, (), add.copies, is_request=True))
        else:
            self._outbox.reply(client, Written(add.msg_id, (), None, 0, self._tokens.current()))

    def _delete(self, delete: Delete, client: Client, now_ns: int) -> None:
        """Delete a counter. Of one that is not there nothing is written; its absence may have to become durable."""
        self._advance_clock(now_ns)
        is_waiting = self._commits.is_waiting(delete.counter)
        existed = self._writes.delete_if_there(delete.counter)
        if existed or is_waiting:
            self._commits.wait(Pending(client, delete.msg_id, (), is_request=True, existed=existed))
        else:
            self._outbox.reply(client, DeleteOk(delete.msg_id, False, self._tokens.current()))
