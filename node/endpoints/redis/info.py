"""What INFO tells Redis's tools: the sections and names that they look for, as far as they mean anything here."""

import os
import resource
from pathlib import Path
from time import monotonic_ns

from gossip_counter import __version__
from gossip_counter.node.core.replica import Replica

Sections = dict[str, dict[str, object]]

_BEGAN_NS = monotonic_ns()


def sections(replica: Replica, door: dict[str, dict[str, object]]) -> Sections:
    """All of them, with what the door knows beside."""
    uptime_s = (monotonic_ns() - _BEGAN_NS) // 1_000_000_000
    used = resource.getrusage(resource.RUSAGE_SELF)
    stats = replica.stats
    found: Sections = {
        "Server": {
            "redis_version": "7.0.0", "server_name": "gossip-counter", "version": __version__,
            "redis_mode": "standalone", "process_id": os.getpid(),
            "uptime_in_seconds": uptime_s, "uptime_in_days": uptime_s // 86_400,
        },
        "Clients": {},
        "Memory": {"used_memory": _resident_bytes(), "used_memory_rss": _resident_bytes(),
                   "used_memory_peak": used.ru_maxrss * 1024, "maxmemory": 0, "maxmemory_policy": "noeviction"},
        "Persistence": {"loading": 0, "aof_enabled": 1, "commits": stats.commits, "commit_errors": stats.commit_errors},
        "Stats": {},
        "Replication": {"role": "master", "connected_slaves": 0},
        "CPU": {"used_cpu_sys": f"{used.ru_stime:.6f}", "used_cpu_user": f"{used.ru_utime:.6f}"},
        "Cluster": {"cluster_enabled": 0},
        "Gossip": replica.gossip_facts(monotonic_ns()),
        "Keyspace": {"db0": f"keys={replica.state.counters},expires=0,avg_ttl=0"} if replica.state.counters else {},
    }  # fmt: skip
    for name, facts in door.items():
        found[name] |= facts
    return found


def _resident_bytes() -> int:
    """What this process has in memory, where the system tells; else the most it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
