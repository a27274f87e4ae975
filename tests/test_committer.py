"""Where commits are made: at once while the disk is quick, elsewhere while it is slow, to the same result."""

from collections.abc import Callable
from random import Random

import pytest

from gossip_counter.node.core.counts import Actor, HeldRow, Row, as_row
from gossip_counter.node.core.effects import Answer, Commit
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.messages import Add, Written
from gossip_counter.node.runtime.committer import QUICK_NS, SLOW, Committer, Done
from gossip_counter.node.storage.errors import MustWaitError
from tests.support.replica import ME, bare, pushed, replica

COMMIT = Commit(ME, ())


class Disk:
    """A store whose commits take as long as the test says, and fail when it says so."""

    def __init__(self) -> None:
        self.took_ns = 0
        self.next_ns = 0
        self.error: Exception | None = None
        self.is_locked = False
        self.commits: list[Commit] = []

    def commit(self, commit: Commit, may_wait: bool = True) -> None:
        self.took_ns = self.next_ns
        if self.is_locked and not may_wait:
            raise MustWaitError("locked")
        if self.error:
            raise self.error
        self.commits.append(commit)


class Elsewhere:
    """A thread, so to speak: it works when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], None], Done]] = []

    def __call__(self, work: Callable[[], None], done: Done) -> None:
        self.waiting.append((work, done))

    def work(self) -> bool:
        """Do what was begun first; whether there was anything."""
        if not self.waiting:
            return False
        work, done = self.waiting.pop(0)
        try:
            work()
        except Exception as error:  # noqa: BLE001 as an executor does
            done(error)
        else:
            done(None)
        return True


class Watched:
    """A committer, and what became of its commits."""

    def __init__(self) -> None:
        self.disk, self.elsewhere = Disk(), Elsewhere()
        self.ends: list[BaseException | None] = []
        self.committer = Committer(self.disk, self.elsewhere, self.ends.append)

    def commit(self, ms: float) -> bool:
        """Make a commit that takes so long; whether it was made elsewhere."""
        self.disk.next_ns = int(ms * 1e6)
        before = len(self.ends)
        self.committer.commit(COMMIT)
        is_elsewhere = len(self.ends) == before
        assert self.elsewhere.work() == is_elsewhere
        assert len(self.ends) == before + 1
        return is_elsewhere


SLOW_MS = QUICK_NS / 1e6


def test_a_quick_commit_is_done_before_the_call_returns() -> None:
    watched = Watched()
    assert [watched.commit(1) for _ in range(50)] == [False] * 50
    assert watched.disk.commits == [COMMIT] * 50
    assert watched.ends == [None] * 50


def test_without_a_store_every_commit_is_done_at_once() -> None:
    ends: list[BaseException | None] = []
    Committer(None, Elsewhere(), ends.append).commit(COMMIT)
    assert ends == [None]


def test_a_slow_disk_is_waited_for_elsewhere() -> None:
    watched = Watched()
    assert [watched.commit(SLOW_MS) for _ in range(5)] == [False] * int(SLOW) + [True] * 3
    assert watched.disk.commits == [COMMIT] * 5


def test_a_slow_commit_now_and_then_is_no_slow_disk() -> None:
    watched = Watched()
    assert not any(watched.commit(SLOW_MS if i % 12 == 0 else 1) for i in range(200))


def test_quick_commits_make_a_disk_quick_again() -> None:
    watched = Watched()
    for _ in range(100):  # however long it was slow
        watched.commit(SLOW_MS)
    found = [watched.commit(1) for _ in range(40)]
    assert found == sorted(found, reverse=True)
    assert 15 <= sum(found) <= 25


@pytest.mark.parametrize("ms", [1, SLOW_MS])
def test_an_error_ends_a_commit_wherever_it_is_made(ms: float) -> None:
    watched = Watched()
    for _ in range(3):
        watched.commit(ms)
    watched.disk.error = OSError("disk full")
    assert watched.commit(ms) == (ms == SLOW_MS)
    assert watched.ends == [None, None, None, watched.disk.error]
    assert len(watched.disk.commits) == 3


def test_while_a_commit_is_made_elsewhere_nothing_has_ended() -> None:
    watched = Watched()
    for _ in range(3):
        watched.commit(SLOW_MS)
    watched.committer.commit(COMMIT)
    assert (len(watched.ends), len(watched.disk.commits)) == (3, 3)
    watched.elsewhere.work()
    assert (len(watched.ends), len(watched.disk.commits)) == (4, 4)


def test_a_commit_that_must_wait_for_another_process_does_so_elsewhere_and_ends_once() -> None:
    watched = Watched()
    watched.disk.is_locked = True
    assert watched.commit(1)
    watched.disk.error = OSError("locked for too long")
    assert watched.commit(1)
    watched.disk.is_locked, watched.disk.error = False, None
    assert not watched.commit(1)
    assert watched.disk.commits == [COMMIT] * 2
    assert [str(end) for end in watched.ends] == ["None", "locked for too long", "None"]


class Run:
    """A replica with a committer, which takes the same inputs whatever the disk is like."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.node = replica(peers=("n2",))
        self.disk, self.elsewhere = Disk(), Elsewhere()
        store = None if kind == "none" else self.disk
        self.committer = Committer(store, self.elsewhere, self.ended)
        self.replies: list[Answer] = []
        self.rng = Random(7)

    def ended(self, error: BaseException | None) -> None:
        self.node.persisted(str(error) if error else None)

    def advance(self) -> None:
        while ready := self.node.ready(0):
            self.replies += [each for each in bare(ready.replies) if isinstance(each, Answer)]
            if ready.commit:
                pace = self.kind if self.kind != "mixed" else self.rng.choice(("quick", "slow"))
                self.disk.next_ns = QUICK_NS if pace == "slow" else 0
                self.committer.commit(ready.commit)

    def inputs(self, seed: int) -> None:
        rng = Random(seed)
        for number in range(60):
            name, delta = rng.choice("xyz"), rng.choice((1, 5, -3))
            match rng.randrange(5):
                case 0:
                    self.node.step(Add(number, delta, name), "c", 0)
                case 1:
                    self.node.submit("d", number, [(name, delta), ("x", 1)])
                case 2:
                    row = (name, Row(number + 1, 0, number + 1))
                    self.node.step(pushed(Actor("n2.a"), number, row), "n2", 0)
                case 3:
                    self.node.tick(0)
                case 4:
                    self.elsewhere.work()
            self.advance()
        while self.elsewhere.work():
            self.advance()

    def outcome(self) -> list[object]:
        """What clients and peers can see of it: each answer is there and as it should be, whenever it came."""
        written = [(each.to, each.reply) for each in self.replies if isinstance(each.reply, Written)]
        assert len(written) == len(self.replies)
        shown = sorted((str(to), reply.in_reply_to, list(reply.values)) for to, reply in written)
        totals = {name: self.node.state.value(name) for name in "xyz"}
        rows = {(actor, name): row[:2] for actor, name, row in self.node.state}
        return [shown, totals, rows, self.node.state.fingerprint]


@pytest.mark.parametrize("kind", ["quick", "slow", "mixed"])
def test_results_are_the_same_wherever_commits_are_made(kind: str) -> None:
    for seed in range(20):
        in_memory, on_disk = Run("none"), Run(kind)
        for each in (in_memory, on_disk):
            each.inputs(seed)
        assert on_disk.outcome() == in_memory.outcome()
        assert [each.reply.in_reply_to for each in on_disk.replies if each.to == "d"] == [
            each.reply.in_reply_to for each in in_memory.replies if each.to == "d"
        ]
        assert stored(on_disk.disk.commits) == {
            (actor, name): tuple(row) for actor, name, row in on_disk.node.state if actor == ME
        }


def stored(commits: list[Commit]) -> dict[tuple[Actor, str], HeldRow]:
    """What the disk holds of our own actor after these."""
    rows: dict[tuple[Actor, str], HeldRow] = {}
    own: list[Stored] = [each for commit in commits for each in commit.stored if each.actor == ME]
    for each in own:
        rows |= {(ME, name): as_row(row) for name, row in each.rows.items()}
    return rows
