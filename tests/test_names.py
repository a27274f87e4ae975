"""Names with stable cursors: whoever goes through them gets each that stays exactly once, whatever comes and goes."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gossip_counter.node.core.names import NameIndex


def index(count: int) -> NameIndex:
    names = NameIndex()
    names.add([f"c{i}" for i in range(count)])
    return names


def walk(names: NameIndex, most: int) -> list[list[str]]:
    """All steps from the beginning to the end."""
    found, cursor = names.after(0, most)
    steps = [found]
    while cursor:
        found, cursor = names.after(cursor, most)
        steps.append(found)
        assert len(steps) < 1000, "a walk ends"
    return steps


def test_names_come_in_the_order_in_which_they_were_added() -> None:
    names = index(7)
    assert walk(names, 3) == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"]]
    assert walk(names, 7) == [list(names)]
    assert len(names) == 7


def test_an_index_without_names_ends_at_once() -> None:
    assert NameIndex().after(0, 5) == ([], 0)
    assert list(NameIndex()) == []


def test_a_cursor_beyond_the_end_is_the_end() -> None:
    names = index(3)
    assert names.after(3, 5) == names.after(2**70, 5) == ([], 0)


def test_names_that_come_later_are_found_from_an_old_cursor() -> None:
    names = index(4)
    found, cursor = names.after(0, 2)
    names.add(["new"])
    assert (found, names.after(cursor, 9)) == (["c0", "c1"], (["c2", "c3", "new"], 0))


def test_a_cursor_stays_though_its_own_name_and_all_before_it_go() -> None:
    names = index(100)
    found, cursor = names.after(0, 50)
    for name in found:
        names.remove(name)
    assert names.after(cursor, 2)[0] == ["c50", "c51"]


def test_a_name_that_came_back_is_there_once() -> None:
    names = index(3)
    names.remove("c1")
    names.add(["new", "c1"])
    assert sorted(names) == ["c0", "c1", "c2", "new"]
    assert sorted(name for step in walk(names, 1) for name in step) == ["c0", "c1", "c2", "new"]


def test_names_that_went_leave_nothing_behind() -> None:
    """In steps of a walk: a million names that came and went are not gone through."""
    names = index(10)
    for i in range(10_000):
        names.add([f"window{i}"])
        names.remove(f"window{i}")
    assert len(names) == 10
    assert len(walk(names, 1)) <= 2 * 10 + 8 + 1


@given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 9))
def test_a_walk_takes_a_bounded_number_of_steps(removed: list[int], most: int) -> None:
    names = index(41)
    for i in set(removed):
        names.remove(f"c{i}")
    left = [f"c{i}" for i in range(41) if i not in removed]
    assert list(names) == left
    assert [name for step in walk(names, most) for name in step] == left
    assert len(walk(names, most)) <= 1 + 41 // most


class Walk:
    """Somebody who goes through the names while they change, and what must have been found at the end."""

    def __init__(self, present: list[str]) -> None:
        self.cursor: int | None = 0
        self.stayed = set(present)
        """Names that were there from the beginning on."""
        self.ever = set(present)
        self.found: list[str] = []


class AgainstAPlainList(RuleBasedStateMachine):
    """Names that come and go, a list that does so too, and walks that are under way all the time."""

    @initialize(count=st.integers(0, 30))
    def start(self, count: int) -> None:
        self.names = index(count)
        self.present = [f"c{i}" for i in range(count)]
        self.gone: list[str] = []
        self.walks: list[Walk] = []
        self.made = count

    @rule(count=st.integers(0, 12))
    def add_new(self, count: int) -> None:
        self._add([f"c{self.made + i}" for i in range(count)])
        self.made += count

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        self._add([data.draw(st.sampled_from(self.gone))])

    def _add(self, names: list[str]) -> None:
        self.names.add(names)
        self.present += names
        self.gone = [name for name in self.gone if name not in names]
        for each in self.walks:
            each.ever |= set(names)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), count=st.integers(1, 25))
    def remove(self, data: st.DataObject, count: int) -> None:
        first = data.draw(st.integers(0, len(self.present) - 1))
        for name in self.present[first : first + count]:
            self.names.remove(name)
            self.present.remove(name)
            self.gone.append(name)
            for each in self.walks:
                each.stayed.discard(name)

    @rule()
    def begin_walk(self) -> None:
        self.walks.append(Walk(self.present))

    @rule(most=st.integers(1, 10))
    def go_on(self, most: int) -> None:
        for each in self.walks:
            self._step(each, most)

    def _step(self, walk: Walk, most: int) -> None:
        if walk.cursor is None:
            return
        found, cursor = self.names.after(walk.cursor, most)
        assert len(found) <= most
        assert set(found) <= set(self.present)
        assert cursor == 0 or cursor > walk.cursor, "a cursor goes forward"
        walk.found += found
        walk.cursor = cursor or None

    @invariant()
    def the_names_are_those_of_the_list(self) -> None:
        if not hasattr(self, "names"):
            return
        assert len(self.names) == len(self.present)
        assert sorted(self.names) == sorted(self.present)

    def teardown(self) -> None:
        for each in self.walks if hasattr(self, "walks") else ():
            for _ in range(1000):
                self._step(each, 3)
            assert each.cursor is None, "a walk ends"
            assert each.stayed <= set(each.found) <= each.ever
            assert all(each.found.count(name) == 1 for name in each.stayed)


TestAgainstAPlainList = AgainstAPlainList.TestCase
TestAgainstAPlainList.settings = settings(max_examples=50, stateful_step_count=30)
