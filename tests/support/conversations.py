"""Random commands about counters that end, right and wrong ones, to which this server replies as Redis does.

What differs is left out: adds of 0, totals beyond 64 bits, lists of names in transactions, and values that are no
integers. So are deadlines some time from now, since the two servers are not asked in the same millisecond.
"""

from random import Random

_KEYS = ("a", "a", "b", "none")
_VALUES = ("1", "5", "-3", "100", "99999999999", "-99999999999999")
_AMOUNTS = (*_VALUES, "x", "1.5", "007", " 1", "+1", "9223372036854775808")
_UNIX_MS = ("99999999999500", "1", "-1", "0", "x", "9223372036854775807")
_UNIX_S = ("99999999999", "1", "-1", "0", "x", "1.5", "9223372036854775807")
_PAST = ("-1", "0", "x", "1.5", "9223372036854775807")
_WORDS = {"k": _KEYS, "v": _VALUES, "n": _AMOUNTS, "s": _UNIX_S, "m": _UNIX_MS, "p": _PAST}
_PLAIN = {
    "INCR": "k", "DECR": "k", "INCRBY": "kn", "DECRBY": "kn", "GET": "k", "MGET": "kkk", "EXISTS": "kk", "TYPE": "k",
    "EXPIRETIME": "k", "PEXPIRETIME": "k", "TOUCH": "kk", "STRLEN": "k", "DEL": "k", "UNLINK": "kk",
    "EXPIRE": "kp", "PEXPIRE": "kp", "EXPIREAT": "ks", "PEXPIREAT": "km", "SETEX": "kpv", "PSETEX": "kpv",
    "PERSIST": "k", "SET": "kv", "SETNX": "kv", "GETSET": "kv", "GETDEL": "k",
    "GETEX": "k", "MSET": "kvkv", "MSETNX": "kvkv", "MULTI": "", "EXEC": "", "DISCARD": "", "WATCH": "k", "UNWATCH": "",
}  # fmt: skip
"""By command, of which kind its words are."""

_OPTIONS = (
    "NX",
    "XX",
    "GT",
    "LT",
    "GET",
    "KEEPTTL",
    "PERSIST",
    "EXAT s",
    "PXAT m",
    "EX p",
    "PX p",
    "EXAT",
    "nx",
    "FOO",
)
_TAKE_OPTIONS = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "SET", "GETEX"}


def _command(random: Random) -> list[str]:
    name = random.choice(list(_PLAIN))
    words = [name, *(random.choice(_WORDS[kind]) for kind in _PLAIN[name])]
    for _ in range(random.choice((0, 1, 1, 2, 3)) if name in _TAKE_OPTIONS else 0):
        option, *kinds = random.choice(_OPTIONS).split()
        words += [option, *(random.choice(_WORDS[kind]) for kind in kinds)]
    if random.random() < 0.05:
        return words[:-1] or words
    return [*words, "a"] if random.random() < 0.03 else words


def random_conversation(random: Random) -> list[list[str]]:
    """What one client sends."""
    return [_command(random) for _ in range(random.randint(5, 25))]
