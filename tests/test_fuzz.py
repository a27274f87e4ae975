"""Claim: no input causes an error that is not expected, or a state that its rows do not come to; the fuzzer finds both."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip_counter.bench.fuzz import campaign, corpus, guided
from gossip_counter.bench.fuzz.campaign import Plan, Tried
from gossip_counter.bench.fuzz.items import Item, join, split
from gossip_counter.bench.fuzz.mutation import Mutator
from gossip_counter.bench.fuzz.targets import TARGETS, Target
from gossip_counter.bench.fuzz.wrong import WrongError
from gossip_counter.cluster.sim import recomputed
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import EndingRow, Row
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.state import State
from gossip_counter.node.endpoints.envelopes import Envelopes
from gossip_counter.node.endpoints.redis.parser import Parser
from gossip_counter.node.security import keyring
from gossip_counter.node.security.sealing import Window
from gossip_counter.node.storage import entries
from tests.support import planted_faults as faults
from tests.support.bench import bench
from tests.support.planted_faults import Plant
from tests.support.replica import X

CORPUS = Path(__file__).parent / "corpus"
ALL = [pytest.param(each, id=each.name) for each in TARGETS.values()]


def made(target: Target, seed: int) -> bytes:
    return join(Mutator(target.samples(), target.tokens, Random(seed)).items(target.length))


# Nothing goes wrong.


@pytest.mark.parametrize("target", ALL)
def test_well_formed_input_goes_well(target: Target) -> None:
    assert target.run(join(target.samples())) > 0


@pytest.mark.parametrize("target", ALL)
def test_random_inputs_go_well(target: Target) -> None:
    for seed in range(3):
        target.run(made(target, seed))


@pytest.mark.parametrize("target", ALL)
@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_input(target: Target, data: bytes) -> None:
    target.run(data)


KEPT = [
    pytest.param(target, path, id=f"{target.name}-{path.name}")
    for target in TARGETS.values()
    for path in sorted((CORPUS / target.name).glob("*"))
]


@pytest.mark.parametrize(("target", "path"), KEPT)
def test_inputs_that_are_kept_go_well(target: Target, path: Path) -> None:
    """Those that went wrong once are among them."""
    campaign.replay(target, path.read_bytes())


# What is wrong is found.


def counts_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "count", lambda value, _: value)


def versions_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "version", lambda value, _: value)


def a_decoder_raises_something_else(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(datagrams, "_hash", lambda value: value % 2**64)


def a_request_raises_something_else(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requests, "_counter", lambda body: body["counter"])


def replays_are_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "is_new", lambda *_: True)


def what_is_not_sealed_is_taken(patch: pytest.MonkeyPatch) -> None:
    opened = Envelopes.opened
    patch.setattr(Envelopes, "opened", lambda self, datagram, *rest: opened(self, datagram, *rest) or datagram)


def an_encoder_forgets_something(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(datagrams, "_pack_wants", lambda wants, _: datagrams.flat_array([], 2))


def a_total_is_not_kept_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "_count", lambda *_: None)


def a_journal_forgets_floors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entries, "_plain", lambda value: tuple(value)[:4])


def a_ring_loses_what_was_retired(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keyring.Keyring, "encode", lambda self: keyring.Keyring.encode(keyring.Keyring(self.keys)))


def a_command_is_cut_by_a_read(patch: pytest.MonkeyPatch) -> None:
    feed = Parser.feed

    def forgetful(self: Parser, *given: Any) -> list[Any]:
        self._rest = bytearray()
        return feed(self, *given)

    patch.setattr(Parser, "feed", forgetful)


PLANTS: list[tuple[str, Plant]] = [
    ("datagrams", counts_have_no_bound),
    ("datagrams", versions_have_no_bound),
    ("datagrams", a_decoder_raises_something_else),
    ("datagrams", a_request_raises_something_else),
    ("datagrams", an_encoder_forgets_something),
    ("datagrams", a_total_is_not_kept_up),
    ("sealed", faults.a_datagram_for_another_process_is_taken),
    ("sealed", what_is_not_sealed_is_taken),
    ("sealed", replays_are_taken),
    ("lines", a_request_raises_something_else),
    ("redis", a_command_is_cut_by_a_read),
    ("entries", a_journal_forgets_floors),
    ("sequences", faults.merge_by_sum),
]


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[f"{name}-{plant.__name__}" for name, plant in PLANTS])
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, name: str, plant: Plant) -> None:
    plant(monkeypatch)
    target = TARGETS[name]
    assert any(campaign.try_one(target, made(target, seed))[1] for seed in range(20))
