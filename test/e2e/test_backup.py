"""
Backups, and what is made of them and of what is left: kvapp client backup, kvapp restore, kvapp
recover, on real servers and directories.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from cluster import check_all_there, environment_of, fill  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

KILLS = 15


# ---- backup ----

def backup(env, cluster, name="backup", *words):
    """Takes one, and gives its path and the revision up to which it holds everything."""
    path = os.path.join(env.folder, name)
    done = env.client(cluster, "backup", path, *words, timeout=60)
    expect_equal(done.returncode, 0, "exit status of backup: %r" % done.stderr)
    said = re.fullmatch(rb"OK, (\d+) bytes, all up to revision (\d+)\n", done.stdout)
    expect(said, "what it says", done.stdout)
    expect_equal(os.path.getsize(path), int(said.group(1)), "size")
    expect(not os.path.exists(path + ".tmp"), "nothing is left beside it")
    return path, int(said.group(2))


def restore(env, cluster, path, timeout=60.0):
    """The directories of all servers of a cluster that was not started."""
    for server in cluster.servers:
        done = env.run("restore", path, "--node-id", str(server.id), "--cluster", cluster.text,
                       "--data-dir", server.data, timeout=timeout)
        expect_equal(done.returncode, 0, "exit status of restore: %r" % done.stderr)
        expect_equal(env.run("verify", server.data).returncode, 0, "verify")


@case(timeout=90)
def a_backup_under_load_holds_what_was_acknowledged_before_it(env):
    cluster = env.cluster()
    load = env.writers(cluster, count=4)
    wait_until(lambda: load.count > 500, 20, "writes")
    before = {}
    for mine in load.acknowledged:
        before.update(dict(mine))
    path, revision = backup(env, cluster)
    expect(revision >= len(before), "the revision counts the writes", revision)
    load.stop()
    copy = env.cluster(start=False)
    restore(env, copy, path)
    copy.start()
    check_all_there(copy, before)
    states = copy.wait_equal()
    expect_equal(len({state.cluster_id for state in states}), 1, "clusters")
    expect(states[0].cluster_id != cluster.wait_leader().status().cluster_id, "it is another one")
    with copy.client() as client:
        expect(client.put(b"new", b"value") > revision, "revisions go on")


@case(timeout=60)
def a_session_goes_on_in_the_restored_cluster(env):
    cluster = env.cluster(size=1)
    with native.Connection(cluster.servers[0].client_address) as connection:
        session = connection.ask(native.command(native.OPEN_SESSION)).revision
        put = native.command(native.PUT, key=b"k", value=b"v", session=(session, 1, 0))
        first = connection.ask(put)
    path, _ = backup(env, cluster)
    copy = env.cluster(size=1, start=False)
    restore(env, copy, path)
    copy.start()
    with native.Connection(copy.servers[0].client_address) as connection:
        again = connection.ask(put)
    expect_equal((again.status, again.revision), (first.status, first.revision), "sent again")


@case(timeout=100)
def backups_while_leaders_are_killed_are_whole(env):
    cluster = env.cluster()
    written = fill(cluster, 150, 50000)
    for number in range(6):
        command = [env.binary, "client", "--cluster", cluster.text, "--timeout", "20000", "backup",
                   os.path.join(env.folder, "backup%d" % number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=environment_of()) as process:
            time.sleep(random.random() * 0.15)
            leader = cluster.wait_leader()
            leader.kill()
            out, complaint = process.communicate(timeout=40)
            expect_equal(process.returncode, 0, "exit status: %r %r" % (out, complaint))
        cluster.wait_leader()
        leader.start()
    copy = env.cluster(size=1, start=False)
    restore(env, copy, os.path.join(env.folder, "backup5"))
    copy.start()
    check_all_there(copy, written)


@case(timeout=60)
def a_server_gives_two_backups_at_a_time_to_their_own_connections(env):
    cluster = env.cluster()
    fill(cluster, 20, 100000)
    leader = cluster.wait_leader()

    def ask(connection, action, **parts):
        connection.send(native.backup_request(5, action, **parts))
        return connection.receive()

    def begin(connection):
        answer = ask(connection, native.BACKUP_BEGIN)
        while isinstance(answer, native.Piece) and answer.file_size == 0:
            answer = ask(connection, native.BACKUP_READ, size=1)
        return answer

    first, second, third = [native.Connection(leader.client_address) for _ in range(3)]
    whole = begin(first)
    expect(whole.file_size > 20 * 100000, "its size", whole)
    begin(second)
    expect_equal(begin(third).status, native.BUSY, "a third")
    expect_equal(ask(third, native.BACKUP_READ, size=1).status, native.INVALID, "without begin")

    # Several in flight, answered in order; shorter at the end, empty behind it.
    size = native.BACKUP_PIECE_MAX
    for number, offset in enumerate((0, size, whole.file_size - 3, whole.file_size)):
        first.send(native.backup_request(10 + number, native.BACKUP_READ, offset, size))
    answers = [first.receive() for _ in range(4)]
    expect_equal([answer.id for answer in answers], [10, 11, 12, 13], "ids")
    expect_equal([len(answer.data) for answer in answers], [size, size, 3, 0], "sizes")
    expect_equal({answer.index for answer in answers}, {whole.index}, "of one snapshot")

    # A place is free when its client is gone, and when it says so.
    second.close()
    wait_until(lambda: isinstance(begin(third), native.Piece), 10, "the place of one that is gone")
    expect_equal(ask(first, native.BACKUP_END).file_size, 0, "the end")
    expect_equal(ask(first, native.BACKUP_READ, size=1).status, native.INVALID, "after the end")
    fourth = native.Connection(leader.client_address)
    expect(begin(fourth).file_size > 0, "the place of one that ended")

    follower = cluster.followers()[0]
    with native.Connection(follower.client_address) as connection:
        answer = ask(connection, native.BACKUP_BEGIN)
        expect(isinstance(answer, native.Redirect), "a follower redirects", answer)
        expect_equal(answer.address, leader.client_address, "to the leader")
    for connection in (first, third, fourth):
        connection.close()


@case(timeout=60)
def a_leader_that_slept_gives_no_old_backup(env):
    cluster = env.cluster()
    with cluster.client() as client:
        client.put(b"k", b"old")
    slept = cluster.wait_leader()
    # Applied there, so that only the round can tell it that it leads no more.
    connection = native.Connection(slept.client_address, timeout=20)
    slept.pause()
    connection.send(native.backup_request(5, native.BACKUP_BEGIN))
    wait_until(cluster.find_leader, 15, "another leader")
    with native.Client([server.client_address for server in cluster.running]) as client:
        revision = client.put(b"k", b"new")
    slept.resume()
    answer = connection.receive()
    while isinstance(answer, native.Piece) and answer.file_size == 0:
        connection.send(native.backup_request(6, native.BACKUP_READ, size=1))
        answer = connection.receive()
    connection.close()
    if isinstance(answer, native.Piece):
        expect(answer.index >= revision, "an old backup", answer, revision)
    elif isinstance(answer, native.Reply):
        expect(answer.status in native.AGAIN + (native.INVALID,), "its answer", answer)


# ---- restore ----

@case(timeout=60)
def a_backup_that_is_damaged_is_not_restored(env):
    cluster = env.cluster(size=1)
    fill(cluster, 50, 2000)
    path, _ = backup(env, cluster)
    data = os.path.join(env.folder, "restored")
    words = ["--node-id", "1", "--bind", cluster.servers[0].address, "--data-dir", data]
    with open(path, "rb") as file:
        whole = file.read()
    for offset in [0, 20, 600] + [random.randrange(len(whole)) for _ in range(20)]:
        harmed = bytearray(whole)
        harmed[offset] ^= 1 << random.randrange(8)
        with open(path, "wb") as file:
            file.write(harmed)
        done = env.run("restore", path, *words)
        if 56 <= offset < 512 and done.returncode == 0:
            shutil.rmtree(data)  # The rest of the header's sector is in no use.
            continue
        expect_equal(done.returncode, 1, "exit status with byte %d flipped" % offset)
        expect(path.encode() in done.stderr, "it names the file", done.stderr)
        expect(not os.path.exists(os.path.join(data, "IDENTITY")), "nothing to start was made")
    with open(path, "wb") as file:
        file.write(whole[:len(whole) // 2])
    expect_equal(env.run("restore", path, *words).returncode, 1, "half of it")
    with open(path, "wb") as file:
        file.write(whole)
    expect_equal(env.run("restore", path, *words).returncode, 0, "the whole of it, in the end")
    expect_equal(env.run("verify", data).returncode, 0, "verify")


@case(timeout=60)
def a_used_directory_is_not_restored_into(env):
    cluster = env.cluster(size=1)
    fill(cluster, 5, 100)
    path, _ = backup(env, cluster)
    server = cluster.servers[0]
    server.terminate()
    before = sorted(os.listdir(server.data))
    words = ["--node-id", "1", "--bind", server.address, "--data-dir"]
    done = env.run("restore", path, *words, server.data)
    expect_equal(done.returncode, 1, "exit status")
    expect(b"is not empty" in done.stderr, "it says why", done.stderr)
    expect_equal(sorted(os.listdir(server.data)), before, "files")
    other = os.path.join(env.folder, "other")
    os.mkdir(other)
    with open(os.path.join(other, "mine"), "w", encoding="ascii"):
        pass
    expect_equal(env.run("restore", path, *words, other).returncode, 1, "with a file of its own")
    expect_equal(os.listdir(other), ["mine"], "files")


@case(timeout=60)
def the_old_cluster_and_the_restored_one_refuse_each_other(env):
    cluster = env.cluster()
    written = fill(cluster, 50, 100)
    path, _ = backup(env, cluster)
    cluster.stop()
    # Two members come from the backup, at their old addresses; the third one is of the old cluster.
    for server in cluster.servers[:2]:
        shutil.rmtree(server.data)
        done = env.run("restore", path, "--node-id", str(server.id), "--cluster", cluster.text,
                       "--data-dir", server.data)
        expect_equal(done.returncode, 0, "exit status of restore: %r" % done.stderr)
    cluster.start()
    check_all_there(cluster, written)
    old = cluster.servers[2]
    wait_until(lambda: "refused" in old.log() and "belongs to cluster" in old.log(), 10,
               "it is refused")
    expect_equal(old.status().leader, 0, "the leader that it knows")


@case(timeout=60)
def killed_while_it_restores_it_can_be_called_again(env):
    cluster = env.cluster(size=1)
    written = fill(cluster, 60, 100000)
    path, _ = backup(env, cluster)
    copy = env.cluster(size=1, start=False)
    server = copy.servers[0]
    words = ["restore", path, "--node-id", "1", "--cluster", copy.text, "--data-dir", server.data]
    interrupt(env, words, lambda: os.path.exists(os.path.join(server.data, "IDENTITY")))
    copy.start()
    check_all_there(copy, written)


# ---- recover ----

def interrupt(env, words, is_done):
    """Runs it and kills it, later each time, until it gets to its end."""
    delay = 0.002
    for _ in range(KILLS):
        with subprocess.Popen([env.binary] + words, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment_of()) as process:
            try:
                out, _ = process.communicate(timeout=delay)
                expect_equal(process.returncode, 0, "exit status: %r" % out)
                return
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        if is_done():
            return
        delay *= 1.6
    expect_equal(env.run(*words).returncode, 0, "exit status of the last one")


def lose_majority(env):
    """The one server of a cluster that is left; what was written."""
    cluster = env.cluster(arguments=["--snapshot-entries", "300"])
    written = fill(cluster, 800, 500)
    cluster.wait_equal()
    survivor = random.choice(cluster.servers)
    for server in cluster.servers:
        server.kill()
        if server is not survivor:
            shutil.rmtree(server.data)
    return survivor, written


def check_alone(survivor, written):
    """It serves alone, with all there was."""
    survivor.start()
    wait_until(lambda: survivor.status() and survivor.status().role == "leader", 10, "it leads")
    with native.Client([survivor.client_address]) as client:
        found = {item.key: item.value for item in client.scan()}
        lost = [key for key in written if found.get(key) != written[key]]
        expect(not lost, "lost writes", lost[:3])
        client.put(b"after", b"the recovery")


@case(timeout=90)
def the_last_server_becomes_a_cluster_of_its_own(env):
    survivor, written = lose_majority(env)
    old = os.path.join(env.folder, "old")
    shutil.copytree(survivor.data, old)

    # Looking changes nothing.
    done = env.run("recover", "--data-dir", survivor.data)
    expect_equal(done.returncode, 0, "exit status: %r" % done.stderr)
    for words in (b"identity   node %d of cluster" % survivor.id, b"for sure up to entry",
                  b"in doubt", b"recover --yes", b"members "):
        expect(words in done.stdout, "it says %r" % words, done.stdout)
    expect_equal(sorted(os.listdir(survivor.data)), sorted(os.listdir(old)), "files")

    done = env.run("recover", "--yes", survivor.data)
    expect_equal(done.returncode, 0, "exit status: %r" % done.stderr)
    verified = env.run("verify", survivor.data)
    expect_equal(verified.returncode, 0, "verify")
    expect(b"before-recovery: holds what was there" in verified.stdout, "a note", verified.stdout)
    check_alone(survivor, written)
    state = survivor.status()
    kept = os.path.join(survivor.data, "before-recovery")
    inspected = env.run("inspect", kept).stdout.decode()
    expect("of cluster %016x" % state.cluster_id not in inspected, "the cluster is another one")
    for name in ("IDENTITY", "VOTE"):
        expect(os.path.exists(os.path.join(kept, name)), "%s was kept" % name)
    survivor.terminate()
    done = env.run("recover", "--yes", survivor.data)
    expect_equal(done.returncode, 1, "a second time")
    expect(b"before-recovery" in done.stderr, "it says why", done.stderr)


@case(timeout=90)
def an_old_server_that_comes_back_is_refused_by_the_recovered_one(env):
    cluster = env.cluster()
    written = fill(cluster, 50, 100)
    cluster.wait_equal()
    cluster.stop()
    survivor, other = cluster.servers[0], cluster.servers[1]
    expect_equal(env.run("recover", "--yes", survivor.data).returncode, 0, "exit status")
    check_alone(survivor, written)
    other.start()
    wait_until(lambda: "belongs to cluster" in other.log(), 10, "it is refused")
    expect_equal(other.status().leader, 0, "the leader that it knows")
    expect_equal(survivor.status().role, "leader", "the recovered one")


@case(timeout=90)
def killed_while_it_recovers_it_can_be_called_again(env):
    survivor, written = lose_majority(env)

    def is_done():
        """Whatever is there now: a server finds a whole directory, or refuses it."""
        kept = os.path.join(survivor.data, "before-recovery")
        has_identity = os.path.exists(os.path.join(survivor.data, "IDENTITY"))
        if not has_identity:
            done = env.run("server", *survivor.arguments)
            expect_equal(done.returncode, 1, "it does not start in between")
            expect(b"IDENTITY is missing" in done.stderr, "it says why", done.stderr)
        return has_identity and os.path.exists(os.path.join(kept, "IDENTITY")) and \
            not os.path.exists(os.path.join(survivor.data, "recovery.moving"))

    interrupt(env, ["recover", "--yes", survivor.data], is_done)
    check_alone(survivor, written)


@case(timeout=60)
def a_directory_whose_log_names_no_members_yet_is_recovered(env):
    """They are known for good only when all have met; the founders are in each directory."""
    cluster = env.cluster(start=False)
    for server in cluster.servers[:2]:
        server.start()
    cluster.wait_leader()
    with cluster.client() as client:
        client.put(b"early", b"write")
    survivor = cluster.wait_leader()
    for server in cluster.running:
        server.kill()
    done = env.run("recover", survivor.data)
    expect_equal(done.returncode, 0, "exit status: %r" % done.stderr)
    expect(b"  members    1=" + cluster.servers[0].address.encode() in done.stdout, "members",
           done.stdout)
    expect_equal(env.run("recover", "--yes", survivor.data).returncode, 0, "exit status")
    check_alone(survivor, {b"early": b"write"})


@case(timeout=60)
def the_most_recent_directory_is_the_advice(env):
    cluster = env.cluster()
    fill(cluster, 30, 100)
    cluster.wait_equal()
    behind = cluster.followers()[0]
    behind.terminate()
    written = fill(cluster, 60, 100)
    cluster.wait_equal()
    recent = random.choice(cluster.running)
    gone = next(server for server in cluster.running if server is not recent)
    cluster.stop()
    done = env.run("recover", "--data-dir", behind.data, "--data-dir", recent.data)
    expect_equal(done.returncode, 0, "exit status: %r" % done.stderr)
    expect(b"Go on with %s:" % recent.data.encode() in done.stdout, "the advice", done.stdout)
    done = env.run("recover", "--yes", behind.data, recent.data)
    expect_equal(done.returncode, 2, "two at once")
    done = env.run("recover", gone.data, env.folder)
    expect_equal(done.returncode, 1, "one that is no data directory")
    expect_equal(env.run("recover", "--yes", recent.data).returncode, 0, "exit status")
    check_alone(recent, written)
    expect(b"a server is running" in env.run("recover", recent.data).stdout, "it is in use")
    expect_equal(env.run("recover", "--yes", recent.data).returncode, 1, "while it runs")


@case(timeout=60)
def a_damaged_directory_is_not_recovered(env):
    survivor, _ = lose_majority(env)
    with open(os.path.join(survivor.data, "IDENTITY"), "r+b") as file:
        file.write(b"\0\0\0\0\0\0\0\0")
    before = sorted(os.listdir(survivor.data))
    done = env.run("recover", "--yes", survivor.data)
    expect_equal(done.returncode, 1, "exit status")
    expect(b"unusable" in done.stdout and b"IDENTITY" in done.stdout, "why", done.stdout)
    expect_equal(sorted(os.listdir(survivor.data)), before, "files")


run()
