"""Claim: libraries for Node.js that count and limit with Redis do so with two nodes of one cluster.

tests/node/libraries.cjs has the checks, docs/redis.md a table of what works and what does not.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.node_modules import SOURCES, node_modules
from tests.support.waiting import LIMIT_S

pytestmark = pytest.mark.timeout(180)  # the first run installs the libraries

PROGRAM = SOURCES / "libraries.cjs"
CHECKS = re.findall(r'^  "(.*)": ', PROGRAM.read_text(), re.MULTILINE)
assert CHECKS


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_modules()


@pytest.mark.parametrize("check", CHECKS)
def test_a_library_for_node_js_counts_at_two_nodes(modules: Path, two_ports: tuple[int, int], check: str) -> None:
    environment = os.environ | {"NODE_PATH": str(modules)}
    done = subprocess.run(
        ["node", PROGRAM, check, *map(str, two_ports)],
        env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
