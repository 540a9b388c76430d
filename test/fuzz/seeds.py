"""
Writes what a fuzzer begins with, out of the recorded cases of test/wire.

Usage: seeds.py TARGET FOLDER
"""

import hashlib
import os
import re
import sys

WIRE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "wire")
HEADER_SIZE = 24


def text_of(name):
    with open(os.path.join(WIRE, name), encoding="utf-8") as file:
        return file.read()


def resp():
    escapes = {"r": b"\r", "n": b"\n", "t": b"\t"}
    for line in re.findall("^< (.*)$", text_of("resp.txt"), re.MULTILINE):
        yield b"".join(
            bytes.fromhex(piece[2:]) if piece.startswith("\\x") else
            escapes.get(piece[1:], piece[-1:].encode()) if piece.startswith("\\") else
            piece.encode() for piece in re.findall(r"\\x..|\\.|[^\\]+", line))


def native():
    """Each frame, and its type with its payload alone."""
    for name in "client.txt", "peer.txt":
        for dump in text_of(name).split("\n\n"):
            lines = re.findall("^[0-9a-f]{4}  ((?:[0-9a-f]{2} )+)", dump, re.MULTILINE)
            frame = bytes.fromhex("".join(lines))
            if frame:
                yield frame
                yield frame[2:3] + frame[HEADER_SIZE:]


def write(target, folder):
    """A file for each of the target's inputs."""
    os.makedirs(folder, exist_ok=True)
    for seed in {"fuzz_resp": resp, "fuzz_native": native}[target]():
        with open(os.path.join(folder, hashlib.sha1(seed).hexdigest()), "wb") as file:
            file.write(seed)


if __name__ == "__main__":
    write(*sys.argv[1:])
