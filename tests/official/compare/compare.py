"""Plays one script with the official clients and with ours, and compares what each writes.

    compare.py HUBSTORM WIRE_SCRIPT FOLDER_WITH_NODE_MODULES DOCUMENT

Writes DOCUMENT and fails when it lists a difference that nobody has explained.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from explained import EXPLAINED
from recorder import Recorder

HERE = Path(__file__).resolve().parent
# Longer than any client's receipts and rejoins take. Four of these and the rest of the script
# must stay well below 20 s, when the JS client sends its first ping.
SETTLE = 2.5
PATIENCE = 60
PAIRS = [("python", "ours as python"), ("js", "ours as js"), ("python", "ours"), ("js", "ours")]


async def start_hub(hubstorm, port):
    hub = await asyncio.create_subprocess_exec(
        hubstorm, "hub", "--listen", f"127.0.0.1:{port}", stdout=asyncio.subprocess.PIPE
    )
    line = (await asyncio.wait_for(hub.stdout.readline(), 20)).decode()
    if "listening on" not in line:
        raise SystemExit(f"the hub did not start: {line!r}")
    return hub, int(line.rsplit(":", 1)[1])


async def play(hubstorm, command, cwd):
    """Runs a client through the script; its transports as recorded."""
    hub, port = await start_hub(hubstorm, 0)
    recorder = Recorder(port)
    url = f"ws://127.0.0.1:{await recorder.start()}/client/hubs/chat"
    client = await asyncio.create_subprocess_exec(
        *command, url, cwd=cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        while True:
            line = await asyncio.wait_for(client.stdout.readline(), PATIENCE)
            name = line.decode().strip()
            if name == "drop":
                recorder.arm()
            elif name == "restart":
                hub.kill()
                await hub.wait()
                hub, _ = await start_hub(hubstorm, port)
            elif name == "settle":
                await asyncio.sleep(SETTLE)
            elif name == "end":
                await asyncio.sleep(0.5)
                break
            else:
                raise SystemExit(f"{command[0]} ended early, after {line!r}")
            client.stdin.write(b"\n")
            await client.stdin.drain()
    finally:
        for process in (client, hub):
            if process.returncode is None:
                process.kill()
                await process.wait()
    return recorder.transports


def facts(transports):
    """What can be compared: kinds, fields and their order, per transport."""
    found = {"transports": [], "subprotocols": sorted({t.subprotocol for t in transports})}
    for number, transport in enumerate(transports, 1):
        what = "recovery" if transport.is_recovery() else "new"
        refused = any(frame.get("close") == 1008 for frame in transport.down)
        found["transports"].append(what + (" refused" if refused else ""))
        found[f"transport {number}: query"] = sorted(transport.query)
        frames = [entry["frame"] for entry in transport.up if "frame" in entry]
        found[f"transport {number}: requests"] = [
            f"{frame['type']} {frame.get('ackId')}"
            for frame in frames
            if frame["type"] not in ("sequenceAck", "ping")
        ]
        acks = [frame["sequenceId"] for frame in frames if frame["type"] == "sequenceAck"]
        found[f"transport {number}: last receipt"] = max(acks, default=None)
        # Whether one leaves before a refusal comes is chance.
        if not refused:
            found[f"transport {number}: pings"] = any(frame["type"] == "ping" for frame in frames)
        closes = [entry["close"] for entry in transport.up if "close" in entry]
        if number == len(transports):
            found["goodbye"] = closes or "none"
        for entry in transport.up:
            if "frame" in entry:
                frame = entry["frame"]
                found.setdefault(f"fields of {frame['type']}", entry["keys"])
                if frame["type"] == "sendToGroup":
                    found.setdefault("noEcho and dataType", [frame["noEcho"], frame["dataType"]])
    return found


def compare(recorded):
    """Rows of (official, ours, fact, theirs, our value, explanation or None)."""
    rows = []
    for theirs, ours in PAIRS:
        left, right = recorded[theirs], recorded[ours]
        for fact in sorted(left.keys() | right.keys()):
            if left.get(fact) != right.get(fact):
                why = EXPLAINED.get((theirs, ours, fact))
                rows.append((theirs, ours, fact, left.get(fact), right.get(fact), why))
    return rows


def document(recorded, rows):
    lines = [
        "# On the wire, beside the official clients",
        "",
        "Written by `.ci/wire-compare`; do not edit. One script (connect, join, 20 sends, a publish whose",
        "answer is lost with the line, recovery, a hub restart with reconnect and rejoin, leave, stop) is played",
        "against `hubstorm hub` by the official Python client (azure-messaging-webpubsubclient 1.1.0), the official JS client",
        "(@azure/web-pubsub-client 1.1.0), and ours: to the letter of client-spec, and with",
        "`behaves_like: python` and `js`. Compared are the transports, the query keys, the kinds, ackIds and",
        "order of requests, the names and order of their fields, the last receipt, pings and the goodbye.",
        "",
        "## What each did",
        "| client | transports | requests on each |",
        "| --- | --- | --- |",
    ]
    for name, found in recorded.items():
        counts = [
            str(len(found[f"transport {number}: requests"]))
            for number in range(1, len(found["transports"]) + 1)
        ]
        lines.append(f"| {name} | {', '.join(found['transports'])} | {', '.join(counts)} |")
    lines += ["", "## Differences", ""]
    for theirs, ours in PAIRS:
        mine = [row for row in rows if row[:2] == (theirs, ours)]
        lines += [f"### Official {theirs} client and {ours}", ""]
        if not mine:
            lines += ["None.", ""]
            continue
        lines += ["| what | official | ours | why |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {fact} | `{left}` | `{right}` | {why or '**not explained**'} |"
            for _, _, fact, left, right, why in mine
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


async def main():
    hubstorm, wire_script, node, out = sys.argv[1:]
    # Node looks for packages beside the script.
    script = shutil.copy(HERE / "client.mjs", Path(node) / "client.mjs")
    commands = {
        "python": [sys.executable, str(HERE / "client.py")],
        "js": ["node", str(script)],
        "ours": [wire_script, "spec"],
        "ours as python": [wire_script, "python"],
        "ours as js": [wire_script, "js"],
    }
    # One after the other: a hub that restarts wants its port back, and none beside it may be
    # given it meanwhile.
    recorded = {}
    for name, command in commands.items():
        try:
            transports = await play(hubstorm, command, os.getcwd())
        except asyncio.TimeoutError:
            # An official client that hangs is a race of its own; twice would be ours.
            print(f"REPEATED: {name} said nothing for {PATIENCE} s", file=sys.stderr)
            transports = await play(hubstorm, command, os.getcwd())
        recorded[name] = facts(transports)
        print(f"{name}: {', '.join(recorded[name]['transports'])}")
    rows = compare(recorded)
    Path(out).write_text(document(recorded, rows))
    unexplained = [row for row in rows if row[5] is None]
    for theirs, ours, fact, left, right, _ in unexplained:
        print(f"NOT EXPLAINED: {fact}: official {theirs} {left}, {ours} {right}")
    stale = set(EXPLAINED) - {row[:3] for row in rows}
    for theirs, ours, fact in sorted(stale):
        print(f"EXPLAINED BUT GONE: {fact}: official {theirs}, {ours}")
    if unexplained or stale:
        raise SystemExit(1)
    print(f"{len(rows)} differences, all explained")


asyncio.run(main())
