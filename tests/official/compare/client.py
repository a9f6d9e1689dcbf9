"""The script, played by the official Python client. Lines on stdout ask for a step of the
recorder's, lines on stdin say that it is done."""

import sys
import threading

from azure.messaging.webpubsubclient import WebPubSubClient
from azure.messaging.webpubsubclient.models import CallbackType, WebPubSubDataType


def step(name):
    print(name, flush=True)
    sys.stdin.readline()


connected = threading.Semaphore(0)
client = WebPubSubClient(sys.argv[1])
client.subscribe(CallbackType.CONNECTED, lambda event: connected.release())
client.open()
connected.acquire(timeout=20)
client.join_group("g")
for number in range(20):
    client.send_to_group("g", f"m-{number}", WebPubSubDataType.TEXT)
step("settle")
step("drop")
client.send_to_group("g", "after the drop", WebPubSubDataType.TEXT)
step("settle")
step("restart")
connected.acquire(timeout=40)
step("settle")
client.send_to_group("g", "after the restart", WebPubSubDataType.TEXT)
client.leave_group("g")
step("settle")
client.close()
step("end")
