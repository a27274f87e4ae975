"""What INFO shows Redis's tools: the sections and names that they look for, as far as they mean anything here."""

import os
import resource
from pathlib import Path
from secrets import token_hex
from time import monotonic_ns

from gossip_counter import __version__
from gossip_counter.node.core.membership import Standing
from gossip_counter.node.core.status import Status
from gossip_counter.node.endpoints.redis.context import Sections

_STARTED_NS = monotonic_ns()
_RUN_ID = token_hex(20)


def sections(status: Status, of_server: Sections) -> Sections:
    """All sections; `of_server` has what the Redis server adds to some of them."""
    uptime_s = (monotonic_ns() - _STARTED_NS) // 1_000_000_000
    used, memory = resource.getrusage(resource.RUSAGE_SELF), _resident_bytes()
    stats = status.stats
    found: Sections = {
        "Server": {
            "redis_version": "7.0.0", "server_name": "gossip-counter", "version": __version__,
            "redis_mode": "standalone", "process_id": os.getpid(), "run_id": _RUN_ID,
            "uptime_in_seconds": uptime_s, "uptime_in_days": uptime_s // 86_400,
        },
        "Clients": {},
        "Memory": {"used_memory": memory, "used_memory_human": _human(memory), "used_memory_rss": memory,
                   "used_memory_peak": used.ru_maxrss * 1024, "maxmemory": 0, "maxmemory_policy": "noeviction"},
        "Persistence": {"loading": 0, "aof_enabled": 1, "commits": stats.commits, "commit_errors": stats.commit_errors,
                        "journal_locked": stats.journal_locked, "journal_wal_blocked": stats.journal_wal_blocked,
                        "journal_wal_bytes": stats.journal_wal_bytes},
        "Stats": {},
        "Replication": {"role": "master", "connected_slaves": 0},
        "CPU": {"used_cpu_sys": f"{used.ru_stime:.6f}", "used_cpu_user": f"{used.ru_utime:.6f}"},
        "Cluster": {"cluster_enabled": 0},
        "Gossip": _gossip(status),
        "Keyspace": {"db0": f"keys={status.counters},expires={status.expiring},avg_ttl=0"} if status.counters else {},
    }  # fmt: skip
    for name, facts in of_server.items():
        found[name] |= facts
    return found


def _gossip(status: Status) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": status.name,
        "cluster": status.cluster,
        "cluster_id": status.cluster_id.text,
        "cluster_id_settled": int(status.cluster_id.is_settled),
        "keys": ",".join(status.keys),
        "members": status.members,
        **{f"members_{state}": count for state, count in status.members_by_state.items()},
        "peers_synced": status.peers_synced,
        "peers_unheard": status.peers_unheard,
        "convergence_ms": "" if status.convergence_ms is None else f"{status.convergence_ms:.1f}",
        "epoch": status.actor,
        "rounds": status.rounds,
        "rows": status.rows,
    }
    return facts | {f"peer{i}": _peer(each) for i, each in enumerate(status.standings)}


def _peer(peer: Standing) -> str:
    state = "level" if peer.level else "behind" if peer.heard else "unheard"
    versions = f",versions_behind={peer.versions}" if peer.heard else ""
    how_long = f"ms_behind={peer.behind_ms:.0f},ms_silent={peer.silent_ms:.0f}"
    return f"name={peer.name},state={state}{versions},{how_long},member={peer.state}"


def _human(size: float) -> str:
    """Bytes as Redis writes them for people: 1.58M."""
    for unit in "BKM":
        if size < 1024:
            return f"{size:.0f}B" if unit == "B" else f"{size:.2f}{unit}"
        size /= 1024
    return f"{size:.2f}G"


def _resident_bytes() -> int:
    """How much memory this process uses, where the system shows it; else the most it ever used."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
