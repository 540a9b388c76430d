"""kvapp and a real redis-server get the same requests, and give the same replies."""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import differential
import resp
from tap import Skip, case, expect, run

FIXED_SEED = 20240501
COUNT = 2500


def sides(env, size=1):
    if not os.path.exists(differential.REDIS_SERVER):
        raise Skip("Debian's package redis-tools is not installed")
    redis = differential.RedisServer(env.ports.take(), env.folder)
    return env.cluster(size=size), redis


def compare(env, seed, protocol, size=1, count=COUNT):
    cluster, redis = sides(env, size)
    print("# seed %d" % seed)
    try:
        found = differential.compare(cluster, redis.address, seed, count, protocol)
    finally:
        redis.stop()
    expect(not found, "\n".join(found).replace("\n", " | "))
    cluster.wait_equal()


@case(timeout=60)
def replies_in_resp2_are_those_of_redis(env):
    compare(env, FIXED_SEED, 2)


@case(timeout=60)
def replies_in_resp3_are_those_of_redis(env):
    compare(env, FIXED_SEED, 3)


@case(timeout=60)
def replies_of_any_of_three_servers_are_those_of_redis(env):
    compare(env, random.randrange(2 ** 32), random.choice([2, 3]), size=3)


@case(timeout=60)
def command_info_tells_the_same_of_every_command(env):
    cluster, redis = sides(env)
    try:
        with resp.Connection(cluster.client_addresses[0]) as ours, \
                resp.Connection(redis.address) as theirs:
            names = [name for name in ours.ask("COMMAND", "LIST") if b"|" not in name]
            expect(len(names) > 60, "commands", names)
            own = {name for name in names if name.startswith(b"kv.")} | {b"sentinel"}
            wrong = []
            for name in names:
                found, = ours.ask("COMMAND", "INFO", name)
                wanted, = theirs.ask("COMMAND", "INFO", name)
                if name in own and wanted is None:
                    continue
                if wanted is None or shown(found) != shown(wanted):
                    wrong.append((name, wanted and shown(wanted), shown(found)))
    finally:
        redis.stop()
    expect(not wrong, "name, arity, flags, first key, last key, step; Redis's, then ours:",
           *wrong[:10])


def shown(info):
    """The six fields that every version has; flags without order."""
    return info[:2] + [sorted(info[2])] + info[3:6]


run()
