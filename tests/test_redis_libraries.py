"""Claim: libraries for Python that count and limit with Redis do so with two nodes of one cluster.

docs/redis.md has a table of what works and what does not.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import redis
import redis.asyncio
from django.conf import settings
from django.core.cache import caches
from django.test import RequestFactory, override_settings
from django_ratelimit.core import is_ratelimited
from flask import Flask
from flask.testing import FlaskClient
from flask_limiter import Limiter
from limits import RateLimitItemPerHour, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from tests.support.waiting import until

HOUR_S = 3600


class Nodes(NamedTuple):
    """A client of each of two nodes."""

    first: Any
    second: Any


@pytest.fixture
def nodes(two_ports: tuple[int, int]) -> Iterator[Nodes]:
    first, second = (redis.Redis(port=port, decode_responses=True) for port in two_ports)
    with first, second:
        yield Nodes(first, second)


@pytest.fixture
def key() -> str:
    """The name of a counter that no other test uses."""
    return uuid4().hex


# redis-py.


def test_redis_py_pipeline_is_a_transaction_and_the_other_node_counts_on(nodes: Nodes, key: str) -> None:
    assert nodes.first.pipeline().incr(key).expire(key, HOUR_S, nx=True).execute() == [1, True]
    until(lambda: nodes.second.get(key) == "1")
    assert nodes.second.pipeline().incr(key).expire(key, HOUR_S, nx=True).ttl(key).execute() == [2, False, HOUR_S]
    until(lambda: nodes.first.get(key) == "2")


def test_redis_py_transaction_is_repeated_when_the_other_node_counts(nodes: Nodes, key: str) -> None:
    nodes.first.incr(key)
    until(lambda: nodes.second.get(key) == "1")
    seen = []

    def double(pipe: Any) -> None:
        seen.append(int(pipe.get(key)))
        if len(seen) == 1:
            nodes.second.incrby(key, 9)
            until(lambda: nodes.first.get(key) == "10")
        pipe.multi()
        pipe.incrby(key, seen[-1])

    assert nodes.first.transaction(double, key) == [20]
    assert seen == [1, 10]


def test_redis_py_register_script(nodes: Nodes, key: str) -> None:
    source = "local n = redis.call('INCR', KEYS[1]); redis.call('PEXPIRE', KEYS[1], ARGV[1], 'NX'); return n"
    scripts = [each.register_script(source) for each in nodes]
    assert scripts[0](keys=[key], args=[HOUR_S * 1000]) == 1
    until(lambda: nodes.second.get(key) == "1")
    assert scripts[1](keys=[key], args=[HOUR_S * 1000]) == 2
    assert HOUR_S - 30 < nodes.second.ttl(key) <= HOUR_S


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_asyncio(two_ports: tuple[int, int], key: str, protocol: int) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis(port=two_ports[0], protocol=protocol, decode_responses=True) as node:
            await asyncio.gather(*(node.incr(key) for _ in range(20)))
            pipe: Any = node.pipeline()
            assert await pipe.get(key).expire(key, HOUR_S).execute() == ["20", True]
            assert [found async for found in node.scan_iter(match=f"{key[:-1]}?", count=1000)] == [key]
            assert await node.set(key, 5, keepttl=True, get=True) == "20"
            assert await node.delete(key) == 1

    asyncio.run(main())


def test_redis_py_lock_is_refused_since_its_token_is_a_text(nodes: Nodes, key: str) -> None:
    with pytest.raises(redis.ResponseError, match=r"SET of '[0-9a-f]{32}' is not possible here: a counter is an int"):
        nodes.first.lock(key, timeout=5).acquire()
    assert not nodes.first.exists(key)


# limits.


@pytest.fixture
def storages(two_ports: tuple[int, int]) -> Iterator[list[RedisStorage]]:
    found = [RedisStorage(f"redis://127.0.0.1:{port}") for port in two_ports]
    yield found
    for each in found:
        each.storage.close()


def test_limits_fixed_window_bounds_the_calls_at_both_nodes(storages: list[RedisStorage], key: str) -> None:
    first, second = (FixedWindowRateLimiter(each) for each in storages)
    limit = RateLimitItemPerHour(3)
    assert [first.hit(limit, key), first.hit(limit, key)] == [True, True]
    until(lambda: second.get_window_stats(limit, key).remaining == 1)
    assert [second.hit(limit, key), second.hit(limit, key), second.test(limit, key)] == [True, False, False]
    until(lambda: not first.test(limit, key))
    first.clear(limit, key)
    assert first.hit(limit, key)
    assert storages[0].check()


def test_limits_resets_all_its_counters(storages: list[RedisStorage], key: str) -> None:
    limiter, limit = FixedWindowRateLimiter(storages[0]), RateLimitItemPerHour(1)
    assert limiter.hit(limit, key)
    assert storages[0].reset()
    assert limiter.test(limit, key)


def test_limits_moving_window_is_refused_since_it_needs_lists(storages: list[RedisStorage], key: str) -> None:
    with pytest.raises(redis.ResponseError, match="LINDEX is not possible here: a key is a counter, and there are no"):
        MovingWindowRateLimiter(storages[0]).hit(RateLimitItemPerHour(3), key)


def test_limits_sliding_window_counter_is_refused_at_its_second_window(storages: list[RedisStorage], key: str) -> None:
    limiter, limit = SlidingWindowCounterRateLimiter(storages[0]), RateLimitItemPerSecond(2)
    assert [limiter.hit(limit, key) for _ in range(3)] == [True, True, False]

    with pytest.raises(
        redis.ResponseError, match="RENAME is not possible here: its counts stand in rows of many nodes"
    ):
        until(lambda: limiter.hit(limit, key), limit_s=5)


# Flask-Limiter.


@contextmanager
def limited(port: int, page: str) -> Iterator[FlaskClient]:
    """A client of a server with one page, of which 3 views an hour are allowed."""
    app = Flask("limited")
    address = f"redis://127.0.0.1:{port}"
    limiter = Limiter(lambda: "somebody", app=app, storage_uri=address, headers_enabled=True)
    app.route("/", endpoint=page)(limiter.limit("3 per hour")(lambda: "welcome"))
    yield app.test_client()
    assert isinstance(limiter.storage, RedisStorage)
    limiter.storage.storage.close()


def test_flask_limiter_bounds_the_views_of_two_servers(two_ports: tuple[int, int], nodes: Nodes, key: str) -> None:
    with limited(two_ports[0], key) as first, limited(two_ports[1], key) as second:
        assert [first.get("/").status_code, first.get("/").status_code] == [200, 200]
        until(lambda: [nodes.second.get(name) for name in nodes.second.keys(f"*{key}*")] == ["2"])
        replies = [second.get("/"), second.get("/")]
        assert [(each.status_code, each.headers["X-RateLimit-Remaining"]) for each in replies] == [
            (200, "0"),
            (429, "0"),
        ]


# Django.


BACKENDS = {"Django": "django.core.cache.backends.redis.RedisCache", "django-redis": "django_redis.cache.RedisCache"}


@pytest.fixture(scope="module")
def configured(two_ports: tuple[int, int]) -> Iterator[None]:
    """Django with caches at both nodes, such as "Django 1"."""
    if not settings.configured:
        settings.configure()
    each = [(name, path, number) for name, path in BACKENDS.items() for number in (1, 2)]
    found = {
        f"{name} {number}": {"BACKEND": path, "LOCATION": f"redis://127.0.0.1:{two_ports[number - 1]}"}
        for name, path, number in each
    }
    with override_settings(CACHES=found | {"default": found["Django 1"]}):
        yield
        for number in (1, 2):
            for pool in caches[f"Django {number}"]._cache._pools.values():
                pool.disconnect()
            caches[f"django-redis {number}"].client.get_client().connection_pool.disconnect()


@pytest.mark.parametrize("library", BACKENDS)
def test_django_caches_keep_integers(configured: None, library: str, key: str) -> None:
    first, second = caches[f"{library} 1"], caches[f"{library} 2"]
    first.set(key, 5, timeout=HOUR_S)
    until(lambda: second.get(key) == 5)
    assert second.incr(key, 3) == 8
    assert (second.decr(key), second.add(key, 1), second.touch(key, 60), key in second) == (7, False, True, True)
    first.set_many({key + "a": 1, key + "b": 2}, timeout=HOUR_S)
    assert first.get_many([key + "a", key + "b", key + "c"]) == {key + "a": 1, key + "b": 2}
    assert first.get_or_set(key + "c", 3) == 3
    first.delete_many([key + "a", key + "b"])
    assert first.delete(key + "c")
    assert first.get(key + "a") is None
    with pytest.raises(ValueError, match="not found"):
        first.incr(key + "a")


@pytest.mark.parametrize("library", BACKENDS)
@pytest.mark.parametrize("value", ["text", 1.5, True, None, [1]])
def test_django_caches_of_anything_else_are_refused(configured: None, library: str, value: object, key: str) -> None:
    with pytest.raises(redis.ResponseError, match="is not possible here: a counter is an integer of 64 bits"):
        caches[f"{library} 1"].set(key, value)


@pytest.mark.parametrize("library", BACKENDS)
def test_django_caches_are_cleared_only_where_the_node_allows_it(configured: None, library: str) -> None:
    with pytest.raises(redis.ResponseError, match="start the node with --allow-flush"):
        caches[f"{library} 1"].clear()


@pytest.mark.parametrize("library", BACKENDS)
def test_django_ratelimit_bounds_the_calls_of_two_servers(configured: None, library: str, key: str) -> None:
    request = RequestFactory().get("/")

    def is_limited(cache: str, increment: bool = True) -> bool:
        with override_settings(RATELIMIT_USE_CACHE=cache):
            return bool(is_ratelimited(request, group=key, key="ip", rate="2/d", increment=increment))

    assert [is_limited(f"{library} 1") for _ in range(3)] == [False, False, True]
    until(lambda: is_limited(f"{library} 2", increment=False))
