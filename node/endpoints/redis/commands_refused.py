"""Commands of Redis that are not possible here, each refused with one sentence that says why.

Pure. The table of all commands is in `commands`. A command that is refused changes nothing, whatever it is.
"""

from gossip_counter.node.endpoints.redis.arguments import listed, shown
from gossip_counter.node.endpoints.redis.replies import Error

_WHY_NOT = {
    "a counter is an integer and no text": "APPEND SETRANGE SETBIT",
    "its counts stand in rows of many nodes under its name; use another counter instead": "RENAME RENAMENX COPY",
    "counters are whole numbers, whose sum is the same in any order": "INCRBYFLOAT",
    "there are no functions; use EVAL": "FCALL FCALL_RO FUNCTION",
    "a key is a counter, and there are no lists, hashes, sets, sorted sets and streams": """
        LINDEX LINSERT LLEN LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPUSH RPUSHX LMOVE RPOPLPUSH BLPOP BRPOP
        HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HSCAN HSET HSETNX HVALS
        SADD SCARD SISMEMBER SMEMBERS SPOP SRANDMEMBER SREM SSCAN XADD XLEN XRANGE XREAD
        ZADD ZCARD ZCOUNT ZINCRBY ZPOPMIN ZRANGE ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE
        ZREVRANGEBYSCORE ZSCAN ZSCORE""",
}
"""By reason, commands of Redis that are refused."""


def unknown(words: list[bytes]) -> Error:
    """The reply to a command that is not in the table."""
    name = shown(words[0])
    for why, names in _WHY_NOT.items():
        if name.upper() in names.split():
            return Error(f"ERR {name.upper()} is not possible here: {why}")
    return Error(f"ERR unknown command '{name}', with args beginning with: {listed(words[1:])}")
