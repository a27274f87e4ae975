// One check of a library for Node.js against two nodes of one cluster: node libraries.cjs CHECK PORT PORT
// It exits with 0 if all is as claimed. tests/test_redis_node_libraries.py runs each.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");

const HOUR_S = 3600;
const LIMIT_MS = 10_000;

async function until(condition) {
  const deadline = Date.now() + LIMIT_MS;
  while (!(await condition())) {
    assert(Date.now() < deadline, `not so after ${LIMIT_MS} ms: ${condition}`);
    await sleep(10);
  }
}

async function withRedis(ports, RESP, use) {
  const { createClient } = require("redis");
  const clients = ports.map((port) => createClient({ RESP, socket: { host: "127.0.0.1", port } }));
  await Promise.all(clients.map((each) => each.connect()));
  await use(...clients);
  await Promise.all(clients.map((each) => each.close()));
}

async function withIoredis(ports, use) {
  const { Redis } = require("ioredis");
  const clients = ports.map((port) => new Redis(port));
  await use(...clients);
  await Promise.all(clients.map((each) => each.quit()));
}

const nodeRedis = (RESP) => (ports, key) =>
  withRedis(ports, RESP, async (first, second) => {
    assert.deepEqual(await first.multi().incr(key).expire(key, HOUR_S, "NX").get(key).exec(), [1, 1, "1"]);
    await until(async () => (await second.get(key)) === "1");
    assert.deepEqual(await second.multi().incrBy(key, 4).ttl(key).exec(), [5, HOUR_S]);
    await until(async () => (await first.get(key)) === "5");
    assert.equal(await first.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", { keys: [key], arguments: ["2"] }), 7);
    assert.equal(await first.set(key, 3, { expiration: { type: "EX", value: 60 }, GET: true }), "7");
    const found = [];
    for await (const names of first.scanIterator({ MATCH: `${key}*`, COUNT: 1000 })) found.push(...names);
    assert.deepEqual(found, [key]);
    assert.equal(await first.del(key), 1);
    await assert.rejects(first.set(key, "text"), /is not possible here: a counter is an integer/);
    await assert.rejects(first.multi().hIncrBy(key, "field", 1).exec());
  });

const ioredis = (ports, key) =>
  withIoredis(ports, async (first, second) => {
    assert.deepEqual(await first.multi().incr(key).expire(key, HOUR_S, "NX").exec(), [[null, 1], [null, 1]]);
    await until(async () => (await second.get(key)) === "1");
    assert.deepEqual(await second.pipeline().incrby(key, 4).ttl(key).exec(), [[null, 5], [null, HOUR_S]]);
    await until(async () => (await first.get(key)) === "5");
    first.defineCommand("twice", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[1]))" });
    assert.equal(await first.twice(key), 10);
    assert.equal(await first.getdel(key), "10");
    await assert.rejects(first.set(key, "text"), /is not possible here: a counter is an integer/);
    await assert.rejects(first.lpush(key, 1), /is not possible here: a key is a counter/);
  });

async function boundsCalls(limiters, key) {
  const [first, second] = limiters;
  assert.deepEqual([(await first.consume(key)).remainingPoints, (await first.consume(key)).remainingPoints], [2, 1]);
  await until(async () => (await second.get(key))?.consumedPoints === 2);
  assert.equal((await second.consume(key)).remainingPoints, 0);
  const refused = await second.consume(key).catch((reason) => reason);
  assert.equal(refused.consumedPoints, 4);
  assert(refused.msBeforeNext > (HOUR_S - 60) * 1000 && refused.msBeforeNext <= HOUR_S * 1000);
  await until(async () => (await first.get(key)).consumedPoints === 4);
  await first.reward(key, 2);
  assert.equal((await first.get(key)).consumedPoints, 2);
  await first.penalty(key, 1);
  await first.block(key, 60);
  assert((await first.consume(key).catch((reason) => reason)).msBeforeNext <= 60_000);
  assert.equal(await first.delete(key), true);
  assert.equal(await first.get(key), null);
}

function flexible(clients, options = {}) {
  const { RateLimiterRedis } = require("rate-limiter-flexible");
  return clients.map((storeClient) => new RateLimiterRedis({ storeClient, points: 3, duration: HOUR_S, ...options }));
}

async function expressRateLimit(ports, key) {
  const { RedisStore } = require("rate-limit-redis");
  await withRedis(ports, 2, async (...clients) => {
    const stores = clients.map((each) => new RedisStore({ sendCommand: (...words) => each.sendCommand(words) }));
    for (const each of stores) each.init({ windowMs: HOUR_S * 1000 });
    const [first, second] = stores;
    assert.deepEqual([(await first.increment(key)).totalHits, (await first.increment(key)).totalHits], [1, 2]);
    await until(async () => (await second.get(key)).totalHits === 2);
    const { totalHits, resetTime } = await second.increment(key);
    assert.equal(totalHits, 3);
    assert(resetTime > Date.now() + (HOUR_S - 60) * 1000);
    await second.decrement(key);
    assert.equal((await second.get(key)).totalHits, 2);
    await second.resetKey(key);
    await until(async () => !(await first.get(key)).totalHits);
  });
}

const CHECKS = {
  "node-redis multi, RESP2": nodeRedis(2),
  "node-redis multi, RESP3": nodeRedis(3),
  "ioredis multi": ioredis,
  "rate-limiter-flexible with ioredis": (ports, key) =>
    withIoredis(ports, (...clients) => boundsCalls(flexible(clients), key)),
  "rate-limiter-flexible with node-redis": (ports, key) =>
    withRedis(ports, 3, (...clients) => boundsCalls(flexible(clients, { useRedisPackage: true }), key)),
  "express-rate-limit's store rate-limit-redis": expressRateLimit,
};

CHECKS[process.argv[2]](process.argv.slice(3).map(Number), randomUUID());
