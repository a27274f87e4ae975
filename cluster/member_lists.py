"""Who is a member of a cluster, as its nodes know it; and how members leave and are removed.

Nodes are asked by address. So it works for all members that they list: also for those that another host, or a person,
has started, and for those that are gone.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from gossip_counter.cluster.client import Client, ClientError, RequestRefusedError, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.wording import in_natural_order
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.membership import UP_NS
from gossip_counter.node.endpoints.addresses import Address, of_text

if TYPE_CHECKING:
    from gossip_counter.cluster.seals import Keys

LEAVE_S = 25.0
"""Longer than a node takes to hand over, or to say that it can't."""

REMOVE_S = 2 * UP_NS / 1e9
"""How long a node that has just died may seem to be up."""

POLL_S = 0.1

UP = "up"
GONE = {"left": "has left", "removed": "was removed"}
"""By state, how it is worded that somebody is no member any more."""


class View(NamedTuple):
    """The members as one node knows them."""

    name: str
    """Of that node."""
    address: Address
    members: list[Status]
    """In the natural order of their names."""


class Found(NamedTuple):
    """How a node lists a member."""

    view: View
    entry: Status

    @property
    def state(self) -> str:
        """up, suspect, down, left or removed."""
        return str(self.entry["state"])

    @property
    def addresses(self) -> list[Address]:
        """Where the member may be."""
        if self.view.name == self.entry["name"]:
            return [self.view.address]
        return [address for text in self.entry["addresses"] if (address := of_text(text))]


class MemberLists:
    """Nodes of one cluster that can be asked. `option` is what commands need to ask the same nodes."""

    def __init__(self, addresses: list[Address], keys: "Keys | None" = None, option: str = "") -> None:
        self._addresses = addresses
        self._keys = keys
        self._option = option

    async def views(self) -> list[View]:
        """What each node knows that answers. Raises `ClientError` or `ClusterError` if none does."""
        asked = await asyncio.gather(*map(self._view, self._addresses), return_exceptions=True)
        for each in asked:
            if isinstance(each, BaseException) and not isinstance(each, ClientError):
                raise each
        if views := [each for each in asked if isinstance(each, View)]:
            return views
        errors = [each for each in asked if isinstance(each, ClientError)]
        if self._option and not self._keys and "did not answer" in str(errors[0]):
            raise ClusterError(f"{errors[0]}: if that cluster is sealed, say --keys FILE")
        raise errors[0]

    async def _view(self, address: Address) -> View:
        async with await Client.connect(address, keys=self._keys) as client:
            name = (await client.gossip_status())["name"]
            members = await client.members()
        return View(name, address, sorted(members, key=lambda each: in_natural_order(each["name"])))

    async def find(self, name: str) -> Found | None:
        """How a member is listed; None if nobody knows it.

        Who lists it as a member comes first; of those itself comes last, and of the others who lists it as up first.
        """
        views = await self.views()
        found = [Found(view, each) for view in views for each in view.members if each["name"] == name]
        return min(found, key=lambda each: (each.state in GONE, each.view.name == name, each.state != UP), default=None)

    async def _find(self, name: str) -> Found:
        if found := await self.find(name):
            return found
        known = {each["name"] for view in await self.views() for each in view.members}
        raise ClusterError(f"there is no node {name!r}: there are {', '.join(sorted(known, key=in_natural_order))}")

    async def leave(self, name: str) -> str:
        """Let a member leave; what came of it, in words. Raises `ClusterError` and `ClientError`; it stays then."""
        found = await self._find(name)
        if found.state in GONE:
            return f"{name} {GONE[found.state]} already"
        if address := await self._reached(found):
            async with await Client.connect(address, LEAVE_S, self._keys) as client:
                return await leave(client, name)
        raise ClusterError(
            f"{name} does not answer at the address that {found.view.name} knows: ask it itself with --at HOST:PORT, or"
            f" 'cluster remove {name}{self._option}' if it is gone for good"
        )

    async def _reached(self, found: Found) -> Address | None:
        """Where a member answers now; None if nowhere."""
        for address in found.addresses:
            with contextlib.suppress(ClientError, ConfigError):  # there may be nobody, or no such name any more
                async with await Client.connect(address, keys=self._keys) as client:
                    if (await client.gossip_status())["name"] == found.entry["name"]:
                        return address
        return None

    async def remove(self, name: str) -> str:
        """Remove a member that is gone for good; what came of it, in words. Raises `ClusterError` and `ClientError`."""
        deadline = asyncio.get_running_loop().time() + REMOVE_S
        while (found := await self._find(name)).state not in GONE:
            if found.view.name == name:
                raise ClusterError(f"{name} is the node that was asked: ask another member with --at")
            if found.state != UP:
                return await self._remove(found)
            if await self._reached(found) or asyncio.get_running_loop().time() > deadline:
                raise ClusterError(
                    f"{name} is up: 'cluster leave {name}{self._option}' lets it hand over; or stop it first"
                )
            await asyncio.sleep(POLL_S)  # until all have missed it
        return f"{name} {GONE[found.state]} already"

    async def _remove(self, found: Found) -> str:
        """Remove a member that no node lists as up."""
        name = found.entry["name"]
        async with await Client.connect(found.view.address, keys=self._keys) as client:
            try:
                await client.remove(name)
            except RequestRefusedError as error:
                raise ClusterError(f"{name} stays a member: {error.text}") from None
        return f"{name} is removed: a node of that name needs an empty data directory"


async def leave(client: Client, name: str) -> str:
    """Let the node that `client` asks leave; what came of it, in words. Raises `ClusterError` and `NoAnswerError`."""
    try:
        unconfirmed = await client.leave()
    except RequestRefusedError as error:
        raise ClusterError(f"{name} has not left: {error.text}") from None
    if unconfirmed:
        return (
            f"{name} has left: others store all that it did, but not yet, as far as it knows, {', '.join(unconfirmed)}"
        )
    return f"{name} has left: the others store all that it did"
