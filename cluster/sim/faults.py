"""What goes wrong: partitions, slow and paused nodes, crashes, failing disks, journals that are lost or put back."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from gossip_counter.cluster.sim.clock import MS
from gossip_counter.cluster.sim.ending import JUMP_MS, Ending
from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.process import Process
from gossip_counter.cluster.sim.workload import Workload
from gossip_counter.node.security.keyring import Key, Keyring

NOTICED_NS = 6_000_000_000
"""Two processes of one name, both running for so long, of which one was cut off for two seconds at most, must know."""


class Faults:
    """Each method but `heal` does one thing to a random node; what does not last ends by itself."""

    def __init__(self, environment: Environment, nodes: dict[str, Node], workload: Workload, ending: Ending) -> None:
        self._environment = environment
        self._scenario = environment.scenario
        self._rng = environment.rng
        self._network = environment.network
        self._losses = environment.losses
        self._nodes = nodes
        self._workload = workload
        self._ending = ending
        self._clone: Node | None = None
        self._jumped = list[Callable[[], None]]()
        """Sets clocks right again, that which jumped first to begin with."""
        self._ring = self._scenario.ring
        self._rotation = self._rotate()
        self.clones = 0
        """How many there were."""

    def partition(self) -> None:
        """Some nodes receive nothing from the others for a while; half of the time in both directions."""
        names = list(self._nodes)
        one_side = set(self._rng.sample(names, self._rng.randrange(1, len(names))))
        both_ways = self._rng.random() < 0.5
        cut = {(a, b) for a in names for b in names if (a in one_side) > (b in one_side)}
        cut |= {(b, a) for a, b in cut} if both_ways else set()
        self._network.cut |= cut
        self._later(lambda: self._network.cut.difference_update(cut), 100, 3000)

    def slow(self) -> None:
        """All datagrams from and to a node take longer for a while."""
        node = self._anyone()
        self._network.slow.add(node.name)
        self._later(lambda: self._network.slow.discard(node.name), 100, 3000)

    def pause(self) -> None:
        """A node stops for a while, as under SIGSTOP."""
        node = self._anyone()
        node.pause()
        self._later(node.resume, 50, 2000)

    def crash(self) -> None:
        """A node is killed and started again, perhaps without its journal or on an older copy of it."""
        node = self._anyone()
        if node.process is None:
            return
        self._losses.crashed(node.name)
        fate = self._rng.random()
        if fate < self._scenario.journal_lost:
            self._lose_journal(node)
        elif fate < self._scenario.journal_lost + self._scenario.restored:
            self._put_back(node)
        node.crash()
        self._environment.oracle.crashed(node.name, node.life)
        self._ending.crashed(node.name, node.life)
        self._count_losses()
        self._ending.recheck()
        self._later(node.start, 20, 1500)

    def back_up(self) -> None:
        """A node's journal is copied."""
        self._anyone().disk.back_up()

    def fail_disk(self) -> None:
        """No commit of a node succeeds for a while."""
        disk = self._anyone().disk
        disk.fail()
        self._later(lambda: setattr(disk, "fails", False), 50, 1000)

    def slow_disk(self) -> None:
        """All commits of a node take longer for a while, so that it no longer waits for them."""
        disk = self._anyone().disk
        disk.is_slow = True
        self._later(lambda: setattr(disk, "is_slow", False), 100, 3000)

    def jump_clock(self) -> None:
        """A node's wall clock is off by some seconds for a while."""
        node, jump_ms = self._anyone(), self._rng.randint(-JUMP_MS, JUMP_MS)

        def jump(ms: int) -> None:
            node.clock_ahead_ms += ms

        jump(jump_ms)
        self._jumped.append(partial(jump, -jump_ms))
        self._later(self._end_jump, 100, 3000)

    def _end_jump(self) -> None:
        if self._jumped:
            self._jumped.pop(0)()

    def rotate_keys(self) -> None:
        """The next step of a change of keys: a new one opens, then it seals, then the old one is retired."""
        assert self._ring
        self._ring = next(self._rotation)
        for node in self._nodes.values():
            if node.process or self._rng.random() < 0.5:
                node.use_keys(self._ring)

    def _rotate(self) -> Iterator[Keyring]:
        ring = self._scenario.ring
        assert ring
        for created in count(1):
            yield (ring := ring.with_key(Key(self._rng.randbytes(32), created)))
            yield (ring := ring.with_newest_first())
            yield (ring := ring.without_others())

    def clone(self) -> None:
        """A node's machine is cloned, and both run for a while; at most one at a time.

        The clone may be cut off at first. Peers may take it for the node from now on, or not know where it is.
        """
        original = self._anyone()
        if self._clone is None and original.disk.contents.actor:
            self.clones += 1
            self._clone = self._nodes["clone"] = original.clone("clone")
            if self._rng.random() < 0.5:
                cut = {pair for name in self._nodes for pair in ((name, "clone"), ("clone", name))}
                self._network.cut |= cut
                self._later(lambda: self._network.cut.difference_update(cut), 100, 2000)
            if self._rng.random() < 0.5:
                self._network.moved[original.name] = self._clone.name
            self._clone.start()
            since_ns, process, actor = self._environment.clock.now_ns, original.process, original.disk.contents.actor
            self._later(lambda: self._end_clone(original, process, actor, since_ns), 500, 8000)

    def _end_clone(self, original: Node, process: Process | None, actor: str, since_ns: int) -> None:
        """It is gone, with its disk. Raises `PromiseBroken` if the original had time to notice, but did not."""
        if self._clone is None:
            return  # all faults have ended, and it with them
        lasted_ns = self._environment.clock.now_ns - since_ns
        if process and process is original.process and process.replica.actor == actor and lasted_ns > NOTICED_NS:
            raise PromiseBroken(f"{original.name} did not notice its clone in {lasted_ns / 1e9:.1f} s")
        self._remove_clone()

    def _remove_clone(self) -> None:
        clone, self._clone = self._clone, None
        if clone:
            self._losses.lost(clone.name, clone.disk.contents, clone.disk.wrote_as)
            clone.crash()
            self._network.moved.clear()
            del self._nodes[clone.name]
            self._environment.oracle.crashed(clone.name, clone.life)
            self._ending.crashed(clone.name, clone.life)
            self._ending.removed(clone.name)
            self._count_losses()

    def heal(self) -> None:
        """End all faults: every node runs, and receives what every other sends."""
        self._remove_clone()
        self._network.heal()
        while self._jumped:
            self._end_jump()
        for node in self._nodes.values():
            node.disk.fails = node.disk.is_slow = False
            if self._ring:
                node.use_keys(self._ring)
            node.resume()
            node.start()

    def _anyone(self) -> Node:
        return self._rng.choice([node for node in self._nodes.values() if node is not self._clone])

    def _later(self, act: Callable[[], None], least_ms: float, most_ms: float) -> None:
        clock = self._environment.clock
        clock.at(clock.now_ns + int(self._rng.uniform(least_ms, most_ms) * MS), act)

    def _lose_journal(self, node: Node) -> None:
        copies = self._scenario.copies
        if copies > 1 and len(self._losses.lost_disks) >= copies - 1:
            return
        self._losses.lost(node.name, node.disk.contents, node.disk.wrote_as)
        self._ending.lost(node.name)
        node.disk.lose()

    def _put_back(self, node: Node) -> None:
        """Replace the journal by an older copy of it; once for each actor, or nobody could keep the books."""
        backup = node.disk.backup
        if backup is None or backup.actor is None or backup.actor in self._losses.forked or self._scenario.copies > 1:
            return
        self._losses.put_back(node.name, node.disk.contents, backup, backup.actor)
        node.disk.put_back(backup)
        self._workload.forget_tokens()

    def _count_losses(self) -> None:
        if self._scenario.copies > 1:
            return  # then nothing may be lost
        nodes = self._nodes.values()
        self._losses.count_orphans(
            [node.replica.state.row if node.process else node.disk.contents.row for node in nodes]
        )
