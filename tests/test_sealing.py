"""Claim: only what a holder of the key has sealed for this process at this address is opened, and once."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.errors import SealError
from gossip_counter.node.security import header, sealing
from gossip_counter.node.security.sealing import Sealing
from tests.support.sealing import key, meet, process, refusal, ring, sealed


def pair() -> tuple[Sealing, Sealing]:
    """Two processes, at a and at b; the first has greeted the second."""
    first, second = process(1), process(2)
    meet(first, second)
    return first, second


# What opens.


def test_one_greeting_is_enough_for_both_directions() -> None:
    first, second = pair()
    assert second.seal(b"too early", "a") is None
    assert second.unseal(sealed(first, b"hello"), "a") == b"hello"
    assert first.unseal(sealed(second, b"reply", "a"), "b") == b"reply"


def test_nothing_can_be_read_and_a_sealed_datagram_is_so_much_longer() -> None:
    first, _ = pair()
    datagram = sealed(first, b"confidential")
    assert b"confidential" not in datagram
    assert len(datagram) == len(b"confidential") + header.OVERHEAD


def test_nonces_never_repeat_and_processes_have_keys_of_their_own() -> None:
    first, second = pair()
    sent = [sealed(first, b"same") for _ in range(3)]
    assert len({each[header.COUNTER] for each in sent}) == 3
    assert len({each[header.HEADER_BYTES :] for each in sent}) == 3
    assert process(1).greeting("b") != process(3).greeting("b")
    assert second.greeting("a")[header.HEADER_BYTES :] != first.greeting("b")[header.HEADER_BYTES :]


def test_datagrams_may_overtake_each_other_within_the_window() -> None:
    first, second = pair()
    sent = [sealed(first, b"%d" % i) for i in range(sealing.WINDOW)]
    Random(1).shuffle(sent)
    assert {second.unseal(each, "a") for each in sent} == {b"%d" % i for i in range(sealing.WINDOW)}


# What does not.


@given(st.binary(max_size=200))
def test_junk_is_refused(junk: bytes) -> None:
    assert refusal(process(1), junk, "a").answer is None


@pytest.mark.parametrize("payload", [b"", b"some bytes"])
def test_one_flipped_bit_and_every_cut_are_refused_and_not_answered(payload: bytes) -> None:
    first, second = pair()
    datagram = sealed(first, payload)
    for bit in range(8 * len(datagram)):
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        refused = refusal(second, bytes(flipped), "a")
        assert refused.kind in {"forged", "no_key", "unknown_key"}
        assert refused.answer is None
    for length in range(len(datagram)):
        assert refusal(second, datagram[:length], "a").answer is None
    assert second.unseal(datagram, "a") == payload


def test_what_came_before_is_refused_however_often_and_late() -> None:
    first, second = pair()
    sent = [sealed(first, b"x") for _ in range(3 * sealing.WINDOW)]
    for each in sent:
        second.unseal(each, "a")
    assert {refusal(second, each, "a").kind for each in sent} == {"replayed"}


def test_what_is_older_than_the_window_is_refused_even_if_it_never_came() -> None:
    first, second = pair()
    late = sealed(first, b"late")
    for _ in range(sealing.WINDOW):
        second.unseal(sealed(first, b"x"), "a")
    assert refusal(second, late, "a").kind == "replayed"


def test_a_captured_datagram_is_worth_nothing_after_a_restart_elsewhere_or_from_another_address() -> None:
    first, second = pair()
    captured = sealed(first, b"add 5")
    for receiver, source in ((process(3), "a"), (second, "elsewhere")):
        refused = refusal(receiver, captured, source)
        assert refused.kind == "unbound"
        assert refused.answer is not None
        assert len(refused.answer) == header.OVERHEAD <= len(captured)
    assert second.unseal(captured, "a") == b"add 5"


def test_a_challenge_is_never_answered() -> None:
    first, second = process(1), process(2)
    challenge = refusal(second, first.greeting("b"), "a").answer
    assert challenge is not None
    for receiver, source in ((process(3), "b"), (first, "elsewhere")):
        refused = refusal(receiver, challenge, source)
        assert (refused.kind, refused.answer) == ("unbound", None)


def test_a_captured_greeting_teaches_nobody_anything() -> None:
    first, second = pair()
    captured = first.greeting("b")
    for _ in range(3):
        assert refusal(second, captured, "a").answer is not None
    assert not second.knows("a")


def test_a_restarted_process_is_reached_again_after_one_challenge() -> None:
    first, _ = pair()
    restarted = process(3)
    challenge = refusal(restarted, sealed(first, b"lost"), "a").answer
    assert challenge is not None
    assert first.unseal(challenge, "b") == b""
    assert restarted.unseal(sealed(first, b"arrives"), "a") == b"arrives"


def test_another_key_or_cluster_does_not_open() -> None:
    second = process(2)
    assert refusal(second, process(3, ring(9)).greeting("b"), "a").kind == "unknown_key"
    assert refusal(second, process(3, ring(1), "another").greeting("b"), "a").kind == "forged"


# Bounds.


def test_without_the_key_nobody_makes_a_node_remember_anything() -> None:
    second = process(2)
    greeting = process(1).greeting("b")
    for boot in range(50):
        other_boot = greeting[:6] + boot.to_bytes(16, "big") + greeting[22:]
        assert refusal(second, other_boot, "a").kind == "forged"
        refusal(second, greeting, f"spoofed {boot}")
    assert not second._young.windows
    assert not second._young.contacts


def test_senders_are_forgotten_with_the_validity_of_what_they_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_SENDERS", 4)
    node, captured = process(0), []
    for number in range(1, 30):
        client = process(number)
        meet(client, node, f"client {number}")
        captured.append((datagram := sealed(client, b"add"), f"client {number}"))
        assert node.unseal(datagram, f"client {number}") == b"add"
        kinds = {refusal(node, *each).kind for each in captured}
        assert kinds <= {"replayed", "unbound"}
        assert len(node._young.windows) + len(node._old.windows) <= 8
    assert kinds == {"replayed", "unbound"}


def test_whoever_goes_on_sending_is_known_over_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_SENDERS", 4)
    node, peer = process(0), process(99)
    meet(peer, node, "peer")
    for number in range(1, 30):
        assert node.unseal(sealed(peer, b"gossip"), "peer") == b"gossip"
        assert peer.unseal(sealed(node, b"gossip", "peer"), "b") == b"gossip"
        client = process(number)
        meet(client, node, f"client {number}")
        node.unseal(sealed(client, b"add"), f"client {number}")


# Rotation.


def test_keys_are_rotated_with_no_moment_in_which_two_do_not_understand_each_other() -> None:
    first, second = pair()
    second.unseal(sealed(first, b"x"), "a")
    steps = [ring(1), ring(1, 2), ring(2, 1), ring(2)]
    for before, after in pairwise(steps):
        for mine, theirs in ((before, after), (after, before), (after, after)):
            first.use(mine)
            second.use(theirs)
            assert second.unseal(sealed(first, b"there"), "a") == b"there"
            assert first.unseal(sealed(second, b"back", "a"), "b") == b"back"


def test_a_key_that_comes_back_opens_nothing_twice() -> None:
    first, second = pair()
    captured = sealed(first, b"add 5")
    second.unseal(captured, "a")
    second.use(ring(2))
    assert refusal(second, captured, "a").kind == "unknown_key"
    second.use(ring(2, 1))
    assert refusal(second, captured, "a").kind == "replayed"


def test_who_comes_back_with_a_retired_key_is_told_apart_from_a_non_member() -> None:
    second = process(2, ring(2, 1).without_others())
    refused = refusal(second, process(1).greeting("b"), "a")
    assert refused.kind == "retired_key"
    assert key(1).name in str(refused)
    assert "copy the present file of keys" in str(refused)


def test_no_error_has_an_answer_unless_its_sender_has_the_key() -> None:
    with pytest.raises(SealError) as refused:
        process(2).unseal(process(1, ring(9)).greeting("b"), "a")
    assert refused.value.answer is None
