"""Looking inside a data directory: kvapp inspect and kvapp verify, next to what a server does."""

import json
import os
import random
import shutil
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import xxhash  # pylint: disable=wrong-import-position

import native  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

SMALL = ["--segment-size", "4M"]
LOG = "log-%016x"
LAYOUT_VERSION = 5
FLIP_SECONDS_MAX = 12.0
HARM_SECONDS_MAX = 10.0
SERVER_SAMPLES = 24


def fingerprint(folder):
    """Names, bytes and times of everything: what reading may not change."""
    found = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            about = os.stat(path)
            found[name] = (file.read(), about.st_mtime_ns, about.st_ctime_ns, about.st_mode)
    about = os.stat(folder)
    return found, about.st_mtime_ns, about.st_mode


def inspect(env, data, *words):
    """The document, and the exit status."""
    done = env.run("inspect", "--json", *words, data)
    expect(done.returncode in (0, 1), "inspect", done)
    return json.loads(done.stdout.decode()), done.returncode


def verify(env, data):
    """The exit status and what was printed."""
    done = env.run("verify", data)
    expect(not done.stderr, "nothing on standard error", done.stderr)
    return done.returncode, done.stdout.decode()


def expect_wrong(env, data, *sentences):
    status, text = verify(env, data)
    expect_equal(status, 1, "exit status: " + text)
    for sentence in sentences:
        expect(sentence in text, "verify says %r:" % sentence, text)
    return text


def expect_right(env, data):
    status, text = verify(env, data)
    expect_equal(status, 0, "exit status: " + text)
    return text


def snapshots_of(data):
    return [name for name in os.listdir(data) if name.startswith("snapshot-")]


def written(env, kill=False):
    """A server that has written a little and was stopped, and its directory."""
    cluster = env.cluster(size=1, arguments=SMALL)
    server = cluster.servers[0]
    with cluster.client() as client:
        client.put(b"planet", b"earth")
        client.put(b"a b", b"\x00\xff\"")
        client.delete(b"planet")
        client.put(b"large", b"v" * 2000)
    if kill:
        server.kill()
    else:
        expect_equal(server.terminate(), 0, "exit status")
    return cluster, server.data


def change(data, name, offset, flip=0xFF, size=1):
    """Flips the bits of `flip` in `size` bytes."""
    with open(os.path.join(data, name), "r+b") as file:
        file.seek(offset)
        old = file.read(size)
        file.seek(offset)
        file.write(bytes(byte ^ flip for byte in old))


def zstd_frame(data):
    """A frame of Zstandard that holds the bytes as they are, in one raw block."""
    return (struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)) +
            struct.pack("<I", len(data) << 3 | 1)[:3] + data)


def hashed(data, seed=0):
    return struct.pack("<Q", xxhash.xxh3_64_intdigest(data, seed)) + data


def snapshot_file(cluster, index, term, chunks):
    """The bytes of src/storage/snapshot_format.h, made a second time."""
    salt = 0x1234567890abcdef
    header = struct.pack("<4sI5Q", b"KVsn", LAYOUT_VERSION, salt, cluster, index, term, 7)
    file = hashed(header + bytes(504 - len(header)))
    for sequence, chunk in enumerate(chunks):
        stored = zstd_frame(chunk)
        file += hashed(struct.pack("<4sIQII", b"KVsc", 0, sequence, len(chunk), len(stored)) +
                       stored, (salt + len(file)) % 2 ** 64)
    end = struct.pack("<4sIQQ", b"KVse", 0, len(chunks), sum(map(len, chunks)))
    return file + hashed(end, (salt + len(file)) % 2 ** 64)


def add_snapshot(env, data, index):
    """A snapshot with two chunks behind the membership; gives its name."""
    found, _ = inspect(env, data, "--from", str(index), "--to", str(index))
    name = "snapshot-%016x" % index
    with open(os.path.join(data, name), "wb") as file:
        file.write(snapshot_file(int(found["identity"]["cluster"], 16), index,
                                 found["entries"][0]["term"], [b"", b"state" * 30, b"more"]))
    return name


def log_end(env, data, segment=0):
    found, _ = inspect(env, data)
    return found["segments"][segment]["size"] - found["segments"][segment]["free"]


def membership(joint, *members):
    """The bytes of src/wire/membership.h, made a second time; (id, incarnation, flags, address)."""
    encoded = struct.pack("<BBH", 1, joint, len(members))
    for member, incarnation, flags, address in members:
        encoded += struct.pack("<QQII", member, incarnation, flags, len(address)) + address.encode()
    return encoded


# ---- what is shown ----

@case()
def inspect_shows_what_a_server_wrote_and_changes_nothing(env):
    _, data = written(env)
    before = fingerprint(data)
    text = env.run("inspect", "--entries", data).stdout.decode()
    for word in ("node 1 of cluster", "no server is running", "this one counts", LOG % 1,
                 "put planet earth", "put \"a b\" \"\\x00\\xff\\\"\"", "delete planet",
                 "... (2000 bytes)", "no-op of a new leader"):
        expect(word in text, "the text has %r:" % word, text)
    found, status = inspect(env, data, "--entries")
    expect_equal(status, 0, "exit status")
    expect_equal(found["identity"]["node"], 1, "node")
    expect(int(found["identity"]["incarnation"], 16) != 0, "an incarnation", found["identity"])
    expect("incarnation " + found["identity"]["incarnation"] in text, "the text has it", text)
    expect_equal(found["server_running"], False, "no server")
    expect_equal([vote["counts"] for vote in found["votes"]].count(True), 1, "votes that count")
    expect_equal({vote["term"] for vote in found["votes"]}, {1}, "terms")
    entries = found["entries"]
    expect_equal([entry["index"] for entry in entries],
                 list(range(1, found["last_index"] + 1)), "indexes")
    puts = [entry for entry in entries if entry["command"] == "put"]
    expect_equal([(entry["key"], entry.get("value", entry.get("value_base64"))) for entry in puts],
                 [("planet", "earth"), ("a b", "AP8i"), ("large", "v" * 2000)], "puts")
    expect_equal(found["segments"][0]["entries"], len(entries), "entries of the segment")
    expect_equal(found["findings"], [], "nothing is wrong")
    expect("all is right" in expect_right(env, data), "verify says so")
    expect_equal(fingerprint(data), before, "the directory")


@case()
def a_range_and_a_limit_choose_entries(env):
    _, data = written(env)
    last = inspect(env, data)[0]["last_index"]
    for words, wanted in (((), range(max(1, last - 4), last + 1)),
                          (("--limit", "2"), range(last - 1, last + 1)),
                          (("--from", "2", "--to", "3"), range(2, 4)),
                          (("--from", "3"), range(3, last + 1)),
                          (("--to", "2"), range(1, 3)),
                          (("--entries", "--limit", "3"), range(1, 4)),
                          (("--from", str(last + 1)), ())):
        found, _ = inspect(env, data, *words)
        expect_equal([entry["index"] for entry in found["entries"]], list(wanted), repr(words))


@case()
def wrong_words_and_foreign_directories_end_with_status_2(env):
    empty = os.path.join(env.folder, "empty")
    os.mkdir(empty)
    for words, sentence in ((("verify",), "name one data directory"),
                            (("inspect", empty, empty), "name one data directory"),
                            (("verify", empty), "no data directory of kvapp"),
                            (("inspect", empty), "no data directory of kvapp"),
                            (("verify", empty + "/none"), "No such file"),
                            (("inspect", "--from", "3", "--to", "2", empty), "--from"),
                            (("verify", "--json", empty), "--json is an option of")):
        done = env.run(*words)
        expect_equal(done.returncode, 2, "exit status of %r" % (words,))
        expect(sentence in done.stderr.decode(), "says %r:" % sentence, done)
    expect_equal(os.listdir(empty), [], "nothing is made")


@case()
def a_running_server_is_told_and_its_directory_is_right_under_load(env):
    cluster = env.cluster(size=1, arguments=SMALL)
    data = cluster.servers[0].data
    writers = env.writers(cluster)
    deadline = time.monotonic() + 4
    runs = 0
    while time.monotonic() < deadline:
        text = expect_right(env, data)
        expect("a server is running" in text, "verify says so", text)
        found, status = inspect(env, data)
        expect_equal((status, found["server_running"]), (0, True), "inspect: %r" % found)
        runs += 1
    expect(writers.stop(), "writes were acknowledged meanwhile")
    print("# %d runs" % runs)
    expect(cluster.servers[0].status() is not None, "the server goes on")


@case()
def a_log_of_several_segments_is_followed_through(env):
    cluster = env.cluster(size=1, arguments=SMALL)
    with cluster.client() as client:
        for number in range(12):
            client.put(b"k%d" % number, bytes([number]) * 1000000)
    cluster.stop()
    data = cluster.servers[0].data
    found, status = inspect(env, data, "--limit", "20")
    expect_equal(status, 0, "exit status")
    used = [segment for segment in found["segments"] if segment["entries"] > 0]
    expect(len(used) >= 3, "segments", found["segments"])
    for before, after in zip(used, used[1:]):
        expect_equal(after["first_index"], before["last_index"] + 1, "indexes go on")
    expect_equal(found["entries"][-1]["index"], found["last_index"], "the newest entry")
    expect_right(env, data)
    os.rename(os.path.join(data, LOG % 2), os.path.join(data, "elsewhere"))
    text = expect_wrong(env, data, LOG % 2 + ": is missing", "refuses to start")
    expect("elsewhere: is no file of kvapp's" in text, "the unknown file is noted", text)


@case(timeout=60)
def entries_that_a_new_leader_replaced_are_not_shown(env):
    cluster = env.cluster(arguments=SMALL)
    with cluster.client() as client:
        client.put(b"k", b"before")
    leader = cluster.wait_leader()
    others = cluster.followers()
    for server in others:
        server.kill()
    with native.Connection(leader.client_address, timeout=0.5) as connection:
        connection.send(native.request(1, native.command(native.PUT, key=b"k", value=b"lost")))
        time.sleep(0.3)
    leader.kill()
    for server in others:
        server.start()
    cluster.wait_leader()
    with cluster.client() as client:
        for number in range(5):
            client.put(b"k", b"after%d" % number)
    leader.start()
    cluster.wait_equal()
    cluster.stop()
    found, status = inspect(env, leader.data, "--entries")
    expect_equal(status, 0, "exit status")
    values = [entry["value"] for entry in found["entries"] if entry["command"] == "put"]
    expect_equal(values, ["before"] + ["after%d" % number for number in range(5)], "values")
    in_batches = sum(segment["entries"] for segment in found["segments"])
    expect(in_batches > len(found["entries"]), "the log holds the lost one", in_batches)
    expect_right(env, leader.data)


# ---- what is wrong ----

@case()
def a_killed_server_leaves_a_directory_that_is_right(env):
    _, data = written(env, kill=True)
    expect_right(env, data)
    expect_equal(inspect(env, data)[0]["server_running"], False, "no server")


@case()
def a_torn_tail_is_called_one_and_the_server_cuts_it(env):
    cluster, data = written(env, kill=True)
    end = log_end(env, data)
    last = inspect(env, data)[0]["last_index"]
    with open(os.path.join(data, LOG % 1), "r+b") as file:
        file.seek(end - 512)
        file.write(bytes(512))
    text = expect_wrong(env, data, "torn tail behind entry %d" % (last - 1),
                        "cuts it as a torn tail")
    expect("refuses" not in text, "it is no damage", text)
    expect_equal(inspect(env, data)[0]["findings"][0]["verdict"], "torn", "verdict")
    cluster.start()
    cluster.stop()
    expect_right(env, data)


@case()
def damage_is_named_by_file_and_offset_and_the_walk_goes_on(env):
    _, data = written(env)
    end = log_end(env, data)
    # The seal of the first start stands at 512, the no-op of the leader behind it.
    change(data, LOG % 1, 1024 + 20)
    change(data, LOG % 1, end - 512 + 20)
    text = expect_wrong(env, data, LOG % 1 + ": offset 1024:",
                        LOG % 1 + ": offset %d:" % (end - 512),
                        "2 things are wrong", "refuses to start", "Else leave it stopped")
    expect("cuts it" not in text, "no torn tail", text)
    found, status = inspect(env, data, "--entries")
    expect_equal((status, len(found["findings"])), (1, 2), "inspect")
    expect(len(found["entries"]) > 2, "what is right is shown all the same", found)


@case()
def files_that_are_missing_cut_or_foreign_are_told(env):
    cluster = env.cluster(arguments=SMALL)
    with cluster.client() as client:
        client.put(b"k", b"v")
    cluster.stop()
    one, two = (cluster.server(number).data for number in (1, 2))
    for name, sentence in (("IDENTITY", "IDENTITY: is missing"), ("VOTE", "VOTE: is missing"),
                           (LOG % 1, "is missing, though it is a part of the log")):
        aside = os.path.join(env.folder, "aside")
        os.rename(os.path.join(one, name), aside)
        expect_wrong(env, one, sentence, "refuses to start")
        shutil.copyfile(os.path.join(two, name), os.path.join(one, name))
        expect_equal(verify(env, one)[0], 1, "with another server's " + name)
        os.rename(aside, os.path.join(one, name))
    expect_right(env, one)
    for name, size in (("VOTE", 4096), ("IDENTITY", 39), (LOG % 1, 1 << 20)):
        with open(os.path.join(one, name), "rb") as file:
            whole = file.read()
        os.truncate(os.path.join(one, name), size)
        expect_wrong(env, one, name, "refuses to start")
        with open(os.path.join(one, name), "wb") as file:
            file.write(whole)
    expect_right(env, one)


def flip_places(env, data):
    """Every byte that says something, and some of those that should be zero."""
    places = [("IDENTITY", offset) for offset in range(40)]
    places += [("VOTE", offset) for offset in range(8192)]
    places += [(LOG % 1, offset) for offset in range(log_end(env, data))]
    places += [(LOG % 2, offset) for offset in range(512)]
    places += [(LOG % 1, 600000), (LOG % 2, 4 * 1024 * 1024 - 1)]
    return places


@case(timeout=60, only="portable")
def every_flipped_byte_is_found(env):
    _, data = written(env)
    places = flip_places(env, data)
    fields = [place for place in places if place[0] == "IDENTITY" or place[1] % 512 < 72]
    random.shuffle(fields)
    random.shuffle(places)
    deadline = time.monotonic() + FLIP_SECONDS_MAX
    count = 0
    # By turns a byte of a header and any byte, as many as there is time for.
    for place in (place for pair in zip(fields, places) for place in pair):
        if time.monotonic() > deadline:
            break
        bit = 1 << random.randrange(8)
        change(data, *place, flip=bit)
        expect_wrong(env, data, place[0])
        change(data, *place, flip=bit)
        count += 1
    expect_right(env, data)
    print("# %d flips in %d places" % (count, len(places)))


@case(timeout=90, only="portable")
def the_verdict_is_what_a_server_does(env):
    cluster, data = written(env, kill=True)
    server = cluster.servers[0]
    kept = data + ".kept"
    shutil.copytree(data, kept)
    end = log_end(env, data)
    places = [("IDENTITY", 20), ("VOTE", 30), ("VOTE", 4096 + 30), ("VOTE", 1000),
              (LOG % 1, 20), (LOG % 1, 100), (LOG % 1, end - 600), (LOG % 1, end + 700),
              (LOG % 2, 40), (LOG % 2, 70000)]
    while len(places) < SERVER_SAMPLES:
        places.append((LOG % 1, random.randrange(end)))
    verdicts = set()
    for place in places:
        change(data, *place)
        found, _ = inspect(env, data)
        expect(found["findings"], "a finding for", place)
        refused = any(one["verdict"] == "refused" for one in found["findings"])
        torn = any(one["verdict"] == "torn" for one in found["findings"])
        verdicts.update(one["verdict"] for one in found["findings"])
        before = server.log()
        server.start()
        if refused:
            expect_equal(server.wait(), 1, "a server refuses %r: %r" % (place, found["findings"]))
        else:
            cluster.wait_leader()
            expect_equal(server.terminate(), 0, "a server starts")
            cut = "torn" in server.log()[len(before):] or "unfinished" in server.log()[len(before):]
            expect_equal(cut, torn, "a server cuts %r: %s" % (place, server.log()[len(before):]))
        shutil.rmtree(data)
        shutil.copytree(kept, data)
    expect_equal(verdicts, {"refused", "torn", "repaired", "unused"}, "verdicts")


@case(timeout=60, only="portable")
def snapshots_are_shown_and_their_flipped_bytes_found(env):
    _, data = written(env)
    last = inspect(env, data)[0]["last_index"]
    older, newest = (add_snapshot(env, data, index) for index in (last - 2, last - 1))
    text = expect_right(env, data)
    expect("2 snapshots" in text, "verify counts them", text)
    found, _ = inspect(env, data)
    expect_equal([(one["file"], one["chunks"], one["uncompressed"], one["counts"])
                  for one in found["snapshots"]],
                 [(older, 3, 154, False), (newest, 3, 154, True)], "snapshots")
    expect(newest in env.run("inspect", data).stdout.decode(), "the text names it")
    size = os.path.getsize(os.path.join(data, newest))
    places = random.sample(range(size), 100)
    for offset in places:
        change(data, newest, offset, flip=1 << random.randrange(8))
        expect_wrong(env, data, newest + ": offset", "sets it aside")
        os.remove(os.path.join(data, newest))
        add_snapshot(env, data, last - 1)
    change(data, older, 600)
    expect_wrong(env, data, older + ": offset", "does not look there")
    change(data, older, 600)


@case(only="portable")
def memberships_are_shown_with_their_members(env):
    data = os.path.join(env.folder, "members")
    plain = membership(0, (1, 0, 1, "a:1"), (2, 0xabc, 1, "b:2"), (3, 0, 0, "c:3"),
                       (4, 5, 4, "d:4"))
    joint = membership(1, (1, 0, 3, "a:1"), (2, 0, 1, "b:2"), (3, 7, 2, "c:3"), (4, 0, 6, "d:4"))
    unknown = b"\x02" + plain[1:]
    env.storage(data, "membership", plain.hex(), "1", "membership", joint.hex(), "1",
                "membership", unknown.hex(), "1")
    with open(os.path.join(data, "snapshot-%016x" % 2), "wb") as file:
        file.write(snapshot_file(77, 2, 1, [plain, b"state" * 30]))
    text = env.run("inspect", "--entries", data).stdout.decode()
    words = ("members 1=a:1, 2=b:2 (incarnation 0000000000000abc), 3=c:3 (learner), "
             "4=d:4 (learner that stays one, incarnation 0000000000000005)")
    for sentence in ("at 2: " + words, "  " + words, "members of two sets 1=a:1, "
                     "2=b:2 (joins the voters), 3=c:3 (leaves, incarnation 0000000000000007), "
                     "4=d:4 (becomes a learner)",
                     "members in an encoding that this version does not know (%d bytes)"
                     % len(unknown)):
        expect(sentence in text, "the text has %r:" % sentence, text)
    found, _ = inspect(env, data, "--entries")
    expect_equal([entry["command"] for entry in found["entries"]], ["membership"] * 3, "commands")
    shown = found["entries"][0]["membership"]
    expect_equal(found["snapshots"][0]["membership"], shown, "that of the snapshot")
    expect_equal(shown["joint"], False, "joint")
    expect_equal(shown["members"][1], {"id": 2, "address": "b:2", "incarnation": "0000000000000abc",
                                       "voter": True, "voter_old": False, "keep_learner": False},
                 "a member")
    expect_equal(found["entries"][1]["membership"]["joint"], True, "joint")
    expect_equal([member["voter_old"] for member in found["entries"][1]["membership"]["members"]],
                 [True, False, True, True], "old voters")
    expect_equal(found["entries"][2]["membership"], None, "one that is not known")


@case(timeout=60, only="portable")
def a_server_sets_aside_what_verify_finds_damaged(env):
    cluster = env.cluster(size=1, arguments=SMALL + ["--snapshot-entries", "2"])
    server, data = cluster.servers[0], cluster.servers[0].data
    for count in (1, 2):
        with cluster.client() as client:
            client.put(b"planet", b"earth")
            client.put(b"moon", b"one")
        wait_until(lambda least=count: len(snapshots_of(data)) >= least, 10, "a snapshot")
    expect_equal(server.terminate(), 0, "exit status")
    newest = max(snapshots_of(data))
    change(data, newest, 560)
    expect_wrong(env, data, newest + ": offset", "sets it aside")
    cluster.start()
    cluster.stop()
    text = expect_right(env, data)
    expect(newest + ".damaged: was set aside" in text, "the server has done so", text)


def logs_of_all_kinds(env):
    """Directories whose logs are whole, trimmed, begun anew, torn; each with snapshots."""
    whole, trimmed, anew, torn = (os.path.join(env.folder, name)
                                  for name in ("whole", "trimmed", "anew", "torn"))
    env.storage(whole, "append", "300", "1", "append", "50", "2", "truncate", "320",
            "append", "100", "3")
    for index in (100, 250):
        add_snapshot(env, whole, index)
    shutil.copytree(whole, trimmed)
    env.storage(trimmed, "append", "10", "3", "trim", "251", "append", "300", "4")
    shutil.copytree(trimmed, anew)
    with open(os.path.join(anew, "snapshot-%016x" % 5000), "wb") as file:
        file.write(snapshot_file(77, 5000, 9, [b"", b"state" * 30]))
    expect("the next start discards it" in expect_right(env, anew), "verify foresees it")
    env.storage(anew, "append", "20", "9", "truncate", "5010", "append", "3", "10")
    shutil.copytree(whole, torn)
    env.storage(torn, "append", "20", "5", "crash")
    return whole, trimmed, anew, torn


@case(timeout=60, only="portable")
def trimmed_and_restarted_logs_are_read_from_where_they_begin(env):
    for data, first, last, term in zip(logs_of_all_kinds(env), (1, 221, 5001, 1),
                                       (419, 729, 5012, 439), (3, 4, 10, 5)):
        found, status = inspect(env, data, "--entries")
        expect_equal((status, found["findings"]), (0, []), data)
        expect_equal((found["first_index"], found["last_index"], found["last_term"]),
                     (first, last, term), data)
        expect_equal([entry["index"] for entry in found["entries"]],
                     list(range(first, last + 1)), "entries of " + data)


def harm(data):
    """Flips a bit, cuts a file, or removes one; gives what was done."""
    sizes = {name: os.path.getsize(os.path.join(data, name)) for name in os.listdir(data)}
    name = random.choice(sorted(name for name in sizes if sizes[name] > 0))
    path, size = os.path.join(data, name), sizes[name]
    how = random.choice(["flip"] * 8 + ["cut", "remove"])
    offset = random.randrange(random.choice([size, min(size, 2000)]))
    if how == "flip":
        change(data, name, offset, flip=1 << random.randrange(8))
    elif how == "cut":
        os.truncate(path, offset)
    else:
        os.remove(path)
    return how, name, offset


@case(timeout=90, only="portable")
def the_verdict_on_harmed_directories_is_that_of_storage(env):
    kinds = logs_of_all_kinds(env)
    data = os.path.join(env.folder, "harmed")
    deadline = time.monotonic() + HARM_SECONDS_MAX
    count, seen = 0, {}
    while time.monotonic() < deadline:
        kind = random.choice(kinds)
        shutil.copytree(kind, data)
        done = [harm(data) for _ in range(random.choice((1, 1, 1, 2)))]
        found, _ = inspect(env, data)
        verdicts = {one["verdict"] for one in found["findings"]}
        said = env.storage(data)
        refused = said.startswith("refused")
        aside = any(name.endswith(".damaged") for name in os.listdir(data))
        judged = ("refused" in verdicts,
                  not refused and "torn" in verdicts, not refused and "set-aside" in verdicts)
        expect_equal(judged, (refused, not refused and said != "opened 0\n", aside),
                     "%s after %r: %s %r" % (kind, done, said, found["findings"]))
        shutil.rmtree(data)
        count += 1
        for verdict in verdicts:
            seen[verdict] = seen.get(verdict, 0) + 1
    print("# %d directories: %r" % (count, seen))


run()
