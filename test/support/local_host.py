#!/usr/bin/env python3
"""Stands in for the Python that has a cluster's package (--python): hosts workers as its own
children, on NODES nodes that differ in nothing but their names; or, of a list NETNS, each in one
of these network namespaces. Folders in HIDDEN are other, empty ones on all nodes but the first. Metrics
are written to the file METRICS.
What the real ones do is in python/shoal/host."""

import contextlib
import json
import os
import subprocess
import sys
import threading

NETNS = os.environ.get("NETNS", "").split()
NODES = len(NETNS) or int(os.environ.get("NODES", "2"))
HIDDEN = os.environ.get("HIDDEN", "").split()
COVER = 'for at in $HIDDEN; do mount -t tmpfs none "$at" || exit 1; done; exec "$@"'
lock = threading.Lock()
stopped = set()


def say(event, **fields):
    with lock:
        print(json.dumps({"event": event, **fields}), flush=True)


def watch(number, child):
    log = child.stdout.read().decode(errors="replace")
    code = child.wait()
    if number not in stopped:
        say("log", worker=number, text=log[-4000:])
    say("gone", worker=number, why=f"the program ended with {code}", preempted=False)


def start(order, opened):
    number = order["worker"]
    reader, writer = os.pipe()
    os.write(writer, bytes.fromhex(opened["secret"]))
    os.close(writer)
    command = [opened["program"], "worker", "--connect", order["address"], "--number", str(number)]
    command += ["--node", f"node{number % NODES}", "--secret-fd", str(reader)]
    if HIDDEN and number % NODES:
        command = ["unshare", "-rm", "sh", "-c", COVER, "sh", *command]
    if NETNS:
        command = ["ip", "netns", "exec", NETNS[number % NODES], *command]
    child = subprocess.Popen(
        command,
        pass_fds=[reader],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(reader)
    threading.Thread(target=watch, args=(number, child), daemon=True).start()
    return child


def orders():
    with contextlib.suppress(ConnectionError):  # as a driver that is killed may reset
        for line in sys.stdin:
            yield json.loads(line)


def main():
    children, opened = {}, {}
    for order in orders():
        if order["op"] == "open":
            opened = order
            say("opened", cluster="local", head="127.0.0.1")
        elif order["op"] == "start":
            children[order["worker"]] = start(order, opened)
        elif order["op"] == "stop":
            stopped.add(order["worker"])
            children[order["worker"]].kill()
        elif order["op"] == "metrics":
            with open(os.environ.get("METRICS", os.devnull), "a") as file:
                file.write(json.dumps(order["values"]) + "\n")
        else:
            break
    stopped.update(children)
    for child in children.values():
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


main()
