#!/usr/bin/env python3
"""Stands in for `shoal worker`: dials the driver, proves that it has the secret, obeys.

It is one file of the standard library, as it travels to nodes alone.
"""

import argparse
import hashlib
import json
import os
import pathlib
import socket
import sys
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("command", choices=["worker"])
arguments.add_argument("--connect", required=True)
arguments.add_argument("--number", type=int, required=True)
arguments.add_argument("--node", required=True)
arguments.add_argument("--secret-fd", type=int, required=True)
given = arguments.parse_args()
with os.fdopen(given.secret_fd, "rb") as pipe:
    secret = pipe.read()
host, port = given.connect.rsplit(":", 1)
driver = socket.create_connection((host, int(port)), timeout=10)
driver.settimeout(None)
hello = {
    "number": given.number,
    "node": given.node,
    "pid": os.getpid(),
    "path": os.path.abspath(__file__),
    "proof": hashlib.sha256(secret + str(given.number).encode()).hexdigest(),
}
driver.sendall(json.dumps(hello).encode() + b"\n")
print(f"worker {given.number} is connected", flush=True)
for line in driver.makefile():
    match line.split():
        case ["exit", code]:
            print("worker says: told to exit", flush=True)
            sys.exit(int(code))
        case ["stay"]:  # as one that hangs: it does not see its driver go
            while True:
                os.read(os.open("/dev/zero", os.O_RDONLY), 1)
                time.sleep(3600)
        case ["tidy", path]:  # as one that has files to remove when it leaves
            driver.makefile().read()
            time.sleep(1)
            pathlib.Path(path).touch()
