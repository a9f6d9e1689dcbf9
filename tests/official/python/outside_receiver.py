"""An outside receiver of a run: the official client joins a group that `hubstorm run` publishes to.

WEBPUBSUB_CONNECTION_STRING names the hub, HUBSTORM the binary. The identities are decoded
here a second time, from their description alone, so that a mistake in the program's own
encoder and decoder cannot hide: each publisher's messages must arrive as 1, 2, 3, ... to the
last that the report says was sent, each with its checksum right.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from azure.messaging.webpubsubclient import WebPubSubClient
from azure.messaging.webpubsubservice import WebPubSubServiceClient

CONNECTION_STRING = os.environ["WEBPUBSUB_CONNECTION_STRING"]
HUB = "chat"
SCENARIO = """
hubstorm: 1
name: outside-receiver
duration: 4s
drain: 10s
pools:
  publishers: {clients: 3, publish: {rate: 20/s, to: room, payload: {type: text, size: 160B, padding: random}}}
  receivers: {clients: 2, groups: {names: [room], join: all}}
"""


def check(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}", flush=True)


def passed(run, report):
    """As tests/program: a busy machine makes the generator late, and what was seen stands."""
    reasons = report["reasons"]
    late = reasons and all(reason.startswith("generator limited") for reason in reasons)
    if run.returncode == 4 and late:
        line = f"FORGIVEN: outside receiver: passed all the same: {reasons}"
        print(line, file=sys.stderr, flush=True)
        if noted := os.environ.get("HUBSTORM_FORGIVEN"):
            with open(noted, "a") as file:
                print(line, file=file)
        return True
    return run.returncode == 0


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def identity(text):
    """(publisher, seq) of a text payload: 48 characters base64url, then padding."""
    head = base64.urlsafe_b64decode(text[:48])
    magic, sum_ = int.from_bytes(head[0:2], "big"), int.from_bytes(head[32:36], "big")
    if magic != 0x6873:
        raise ValueError(f"magic {magic:#x}")
    if sum_ != crc32c(head[:32] + text[48:].encode()):
        raise ValueError("the checksum does not fit")
    return int.from_bytes(head[6:9], "big"), int.from_bytes(head[12:16], "big")


service = WebPubSubServiceClient.from_connection_string(CONNECTION_STRING, hub=HUB)
url = service.get_client_access_token(user_id="outsider", roles=["webpubsub.joinLeaveGroup"])["url"]
seen, bad = defaultdict(list), []


def received(event):
    try:
        publisher, seq = identity(event.data)
        seen[publisher].append(seq)
    except ValueError as error:
        bad.append(f"{error}: {event.data[:60]}")


client = WebPubSubClient(url)
client.subscribe("group-message", received)
with client, tempfile.TemporaryDirectory() as folder:
    client.join_group("room")
    (Path(folder) / "run.yaml").write_text(SCENARIO)
    run = subprocess.run(
        [os.environ["HUBSTORM"], "run", "run.yaml", "--connection-string", CONNECTION_STRING,
         "--hub", HUB, "--out", "out"],
        cwd=folder, timeout=60, capture_output=True, text=True,
    )
    report = json.loads((Path(folder) / "out" / "report.json").read_text())
    check(passed(run, report), f"the run passes: {run.stdout[-400:] if run.returncode else ''}")
    attempted = report["publish"]["attempted"]
    until = time.monotonic() + 10
    while sum(map(len, seen.values())) < attempted and time.monotonic() < until:
        time.sleep(0.05)

check(not bad, f"every checksum fits: {bad[:3]}")
check(len(seen) == 3, f"three publishers were heard: {sorted(seen)}")
for publisher, numbers in sorted(seen.items()):
    check(numbers == list(range(1, len(numbers) + 1)), f"publisher {publisher}: 1 to {len(numbers)}, in order, once each")
check(sum(map(len, seen.values())) == attempted, f"all {attempted} messages that the run says it sent")
