"""Claim: counters that expire or are deleted end at every node, once, and nothing that was deleted comes back.

The schedules are those of the model (`test_lives_model`), run with replicas, datagrams and losses.
"""

from pathlib import Path
from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Replica
from tests.support.ending_replicas import RealCluster
from tests.support.journals import look, opened
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_model import MODES

SEEDS = 6


@pytest.mark.parametrize("mode", MODES)
def test_replicas_keep_the_promises_of_the_model(mode: str) -> None:
    for seed in range(SEEDS):
        try:
            MODES[mode](RealCluster(seed, 0 if mode == "mixed" else 200))
        except BrokenPromiseError as error:
            pytest.fail(f"seed {seed}: {error.args}")


def test_the_journal_shows_no_counter_that_its_node_deleted(tmp_path: Path) -> None:
    replica = Replica(Config(name="n1"), Random(1), 0)
    with opened(tmp_path) as journal:
        for ends in (False, True):
            transaction = replica.transaction()
            transaction.add("likes", 5)
            transaction.add("views", 7)
            if ends:
                transaction.delete("likes")
            transaction.wait("c", 1)
            while ready := replica.ready(0):
                if ready.commit:
                    journal.commit(ready.commit)
                    replica.persisted()
        assert look(tmp_path, "SELECT * FROM counts") == [("views", 14)]
