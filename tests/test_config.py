"""Settings are checked when made."""

from typing import Any

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.errors import ConfigError


@pytest.mark.parametrize(
    "fields",
    [
        *({"name": bad} for bad in ("", "n" * 256, "\ud800", 5)),
        *({"cluster": bad} for bad in ("", "n" * 256)),
        *({"gossip_interval_ms": bad} for bad in (0, -1, 3_600_001, 1.5, True)),
        *({"gossip_fanout": bad} for bad in (-1, 1001)),
        *({"datagram_bytes": bad} for bad in (511, 65_508)),
        *({"peers": bad} for bad in (("n1",), ("n2", "n2"), ("",))),
        {"max_rows": 0},
    ],
    ids=repr,
)
def test_a_setting_out_of_bounds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Config(**{"name": "n1"} | fields)


def test_defaults_are_the_seeds() -> None:
    config = Config(name="n1")
    assert (config.gossip_interval_ms, config.gossip_fanout) == (100, 2)
