// What test_clients.py lets the clients of npm do.
//
//     node clients.js PACKAGE basic|count PLACE ADDRESS...
//
// PLACE: plain (the first address), sentinel, cluster. `basic` checks what it gets and ends with 0.
// `count` increments a counter until a line comes on its input, and prints what became of that.
'use strict';

const assert = require('assert');
const readline = require('readline');

const [packageName, what, place, ...addresses] = process.argv.slice(2);
const nodes = addresses.map((address) => {
    const [host, port] = address.split(':');
    return { host, port: Number(port) };
});
const isIoredis = packageName.startsWith('ioredis');
const library = require(packageName);

// ---- the two libraries as one ----

async function connectIoredis() {
    const Redis = library.Redis || library.default || library;
    const common = {
        // Else an INCR could be counted twice; and without the second one, nothing would become of
        // a command that was under way when the connection ended.
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        retryStrategy: () => 50,
        lazyConnect: true,
    };
    let client;
    if (place === 'cluster') {
        client = new Redis.Cluster(nodes, {
            redisOptions: common,
            lazyConnect: true,
            clusterRetryStrategy: () => 50,
            retryDelayOnClusterDown: 50,
            slotsRefreshTimeout: 2000,
        });
    } else if (place === 'sentinel') {
        client = new Redis({
            ...common,
            sentinels: nodes,
            name: 'kvapp',
            sentinelRetryStrategy: () => 50,
        });
    } else {
        client = new Redis({ ...common, ...nodes[0] });
    }
    client.on('error', () => {}); // Each command tells.
    await client.connect();
    return {
        send: (...words) => client.call(...words),
        set: (key, value) => client.set(key, value),
        get: (key) => client.get(key),
        incr: (key) => client.incr(key),
        pipeline: async (key) => {
            const answers = await client.pipeline().set(key, '1').incr(key).get(key).exec();
            return answers.map(([error, value]) => error || value);
        },
        multi: async (key) => {
            const answers = await client.multi().set(key, '5').incrby(key, 2).get(key).exec();
            return answers.map(([error, value]) => error || value);
        },
        bytes: async (key, value) => {
            await client.set(key, value);
            return client.getBuffer(key);
        },
        scan: async () => {
            const found = [];
            const from = place === 'cluster' ? client.nodes('master')[0] : client;
            for await (const keys of from.scanStream({ match: 'basic*', count: 3 })) {
                found.push(...keys);
            }
            return found;
        },
        end: () => client.quit(),
    };
}

async function connectNodeRedis() {
    const strategy = { reconnectStrategy: () => 50 };
    let client;
    if (place === 'cluster') {
        client = library.createCluster({
            rootNodes: nodes.map((node) => ({ socket: { ...node } })),
            defaults: { socket: strategy },
        });
    } else {
        client = library.createClient({ socket: { ...nodes[0], ...strategy } });
    }
    client.on('error', () => {}); // Each command tells.
    await client.connect();
    return {
        send: (...words) => client.sendCommand(words),
        set: (key, value) => client.set(key, value),
        get: (key) => client.get(key),
        incr: (key) => client.incr(key),
        // Commands of the same turn are one pipeline.
        pipeline: (key) => Promise.all([client.set(key, '1'), client.incr(key), client.get(key)]),
        multi: (key) => client.multi().set(key, '5').incrBy(key, 2).get(key).exec(),
        bytes: async (key, value) => {
            await client.set(key, value);
            return client.withTypeMapping({ [library.RESP_TYPES.BLOB_STRING]: Buffer }).get(key);
        },
        scan: async () => {
            const found = [];
            for await (const keys of client.scanIterator({ MATCH: 'basic*', COUNT: 3 })) {
                found.push(...[keys].flat());
            }
            return found;
        },
        end: () => client.close(),
    };
}

// ---- what they do ----

async function basic(client) {
    assert.strictEqual(await client.set('basic', 'value'), 'OK');
    assert.strictEqual(await client.get('basic'), 'value');
    assert.strictEqual(await client.get('basic:none'), null);
    assert.deepStrictEqual(await client.pipeline('basic:pipeline'), ['OK', 2, '2']);
    assert.deepStrictEqual(await client.multi('basic:multi'), ['OK', 7, '7']);
    const value = Buffer.from([0, 255, 13, 10, 128]);
    assert.ok(value.equals(await client.bytes('basic:bytes', value)));
    await assert.rejects(client.incr('basic'), /ERR value is not an integer or out of range/);
    if (place !== 'cluster') {
        await assert.rejects(client.send('NOSUCH', 'x'), /ERR unknown command/);
    }
    for (let n = 0; n < 10; n++) {
        await client.set('basic:' + n, String(n));
    }
    if (isIoredis || place !== 'cluster') {
        assert.strictEqual(new Set(await client.scan()).size, 14);
    }
    await client.end();
}

async function count(client) {
    const found = { acknowledged: 0, unknown: 0, refused: 0, messages: {} };
    let going = true;
    readline.createInterface({ input: process.stdin }).on('line', () => { going = false; });
    console.log('begun');
    const work = async () => {
        while (going) {
            try {
                await client.incr('counter');
                found.acknowledged++;
                if (found.acknowledged % 100 === 0) {
                    console.log('acknowledged ' + found.acknowledged);
                }
            } catch (error) {
                // These say that nothing was done; anything else leaves it open.
                const text = String(error.message);
                const refused = /^(CLUSTERDOWN|TRYAGAIN|READONLY|MOVED)/.test(text);
                found[refused ? 'refused' : 'unknown']++;
                found.messages[text] = (found.messages[text] || 0) + 1;
                await new Promise((resolve) => { setTimeout(resolve, 20); });
            }
        }
    };
    await Promise.all([work(), work(), work(), work()]);
    console.log(JSON.stringify(found));
}

async function main() {
    const client = await (isIoredis ? connectIoredis() : connectNodeRedis());
    await (what === 'basic' ? basic(client) : count(client));
    process.exit(0);
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
