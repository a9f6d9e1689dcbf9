"""Every operation of the official Python service SDK against a hub, seen by raw clients.

WEBPUBSUB_CONNECTION_STRING names the hub. Prints one line for each thing that held; ends
with an error at the first that did not.
"""

import base64
import io
import json
import os

import websocket
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.messaging.webpubsubservice import WebPubSubServiceClient

CONNECTION_STRING = os.environ["WEBPUBSUB_CONNECTION_STRING"]
HUB = "Service"
service = WebPubSubServiceClient.from_connection_string(CONNECTION_STRING, hub=HUB)


def check(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}", flush=True)


class Client:
    """A reliable client that reads frame by frame."""

    def __init__(self, user, **token):
        url = service.get_client_access_token(user_id=user, **token)["url"]
        self.socket = websocket.create_connection(
            url, subprotocols=["json.reliable.webpubsub.azure.v1"], timeout=20
        )
        connected = self.frame()
        self.id, self.user = connected["connectionId"], connected["userId"]

    def frame(self):
        return json.loads(self.socket.recv())

    def ask(self, **request):
        """Sends a request and gives the next frame."""
        self.socket.send(json.dumps({"ackId": 1, **request}))
        return self.frame()

    def ended(self):
        """The reason and the close code, after the last frame."""
        reason = self.frame()["message"]
        opcode, data = self.socket.recv_data()
        return opcode == websocket.ABNF.OPCODE_CLOSE and (int.from_bytes(data[:2], "big"), reason)


def data(client, count=1):
    """The payloads of the next frames, with whence they come."""
    frames = [client.frame() for _ in range(count)]
    return [(f["from"], f.get("group"), f["dataType"], f["data"]) for f in frames]


def status(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
        return 200, None
    except HttpResponseError as error:
        return error.status_code, error


ann, ann2, bob = Client("ann", groups=["g"]), Client("ann"), Client("bob o'neil", groups=["g", "h/1 é"])
check(ann.user == "ann" and bob.user == "bob o'neil", "get_client_access_token: user and groups")

# Who gets what.
service.send_to_all({"a": [1, None, "é"]})
everyone = [data(c)[0] for c in (ann, ann2, bob)]
check(everyone == [("server", None, "json", {"a": [1, None, "é"]})] * 3, "send_to_all: JSON")
service.send_to_all("text", content_type="text/plain", excluded=[ann.id, ann2.id])
check(data(bob) == [("server", None, "text", "text")], "send_to_all: text, excluded")
service.send_to_all("f", content_type="text/plain", filter="userId ne 'ann'")
check(data(bob)[0][3] == "f", "send_to_all: filter")
service.send_to_all(io.BytesIO(b"\0\xff"), content_type="application/octet-stream", filter="'g' in groups")
binary = base64.b64encode(b"\0\xff").decode()
check([data(c)[0][2:] for c in (ann, bob)] == [("binary", binary)] * 2, "send_to_all: binary, filter by group")
service.send_to_group("g", "1", content_type="text/plain", excluded=[bob.id])
check(data(ann) == [("group", "g", "text", "1")], "send_to_group: excluded")
service.send_to_group("g", {"n": 2}, filter="userId eq 'bob o''neil'")
check(data(bob) == [("group", "g", "json", {"n": 2})], "send_to_group: filter with a quote")
service.send_to_group("h/1 é", "odd name", content_type="text/plain")
check(data(bob)[0][1] == "h/1 é", "send_to_group: a name with a slash, a blank and an accent")
service.send_to_user("ann", "both", content_type="text/plain")
check([data(c)[0][3] for c in (ann, ann2)] == ["both"] * 2, "send_to_user: all connections of the user")
service.send_to_user("ann", "one", content_type="text/plain", filter=f"connectionId eq '{ann2.id}'")
check(data(ann2)[0][3] == "one", "send_to_user: filter")
service.send_to_connection(ann.id, {"only": True})
check(data(ann)[0][3] == {"only": True}, "send_to_connection")
service.send_to_connection("f" * 32, "x", content_type="text/plain")
service.send_to_user("nobody", "x", content_type="text/plain")
service.send_to_group("nobody", "x", content_type="text/plain")
check(True, "sends to whom there is not are taken")
for number, filter in enumerate([
    "startswith(userId, 'an') and not endswith(connectionId, 'x')",
    "tolower(userId) in ('ann', 'eve') or length(userId) gt 100",
    "indexof(concat(userId, '!'), '!') eq 3",
    "substring(userId, 1) eq 'nn' and contains(toupper(trim(userId)), 'ANN')",
    "(userId ge 'ann') and (userId le 'ann')",
]):
    service.send_to_all(str(number), content_type="text/plain", filter=filter)
    check([data(c)[0][3] for c in (ann, ann2)] == [str(number)] * 2, f"filter: {filter}")

# What there is.
check(service.connection_exists(ann.id) and not service.connection_exists("f" * 32), "connection_exists")
check(service.user_exists("ann") and not service.user_exists("eve"), "user_exists")
check(service.group_exists("h/1 é") and not service.group_exists("nobody"), "group_exists")

# Groups.
service.add_connection_to_group("new", ann.id)
service.add_connection_to_group("new", ann.id)
check([m.connection_id for m in service.list_connections(group="new")] == [ann.id], "add_connection_to_group, twice is once")
service.add_user_to_group("new", "ann")
members = {(m.connection_id, m.user_id) for m in service.list_connections(group="new")}
check(members == {(ann.id, "ann"), (ann2.id, "ann")}, "add_user_to_group, list_connections")
check(len(list(service.list_connections(group="new", top=1))) == 1, "list_connections: top")
crowd = [Client("crowd", groups=["crowd"]) for _ in range(7)]
pages = [len(list(page)) for page in service.list_connections(group="crowd", maxpagesize=3).by_page()]
check(sum(pages) == 7, f"list_connections: pages of {pages}")
service.remove_connection_from_group("new", ann.id)
service.remove_connection_from_group("new", ann.id)
check([m.connection_id for m in service.list_connections(group="new")] == [ann2.id], "remove_connection_from_group")
service.remove_user_from_group("new", "ann")
check(not service.group_exists("new"), "remove_user_from_group")
service.add_user_to_group("x", "ann")
service.add_user_to_group("y", "ann")
service.remove_connection_from_all_groups(ann.id)
check(len(list(service.list_connections(group="x"))) == 1 and not list(
    m for m in service.list_connections(group="g") if m.connection_id == ann.id), "remove_connection_from_all_groups")
service.remove_user_from_all_groups("ann")
check(not service.group_exists("x") and not service.group_exists("y"), "remove_user_from_all_groups")
check(status(service.add_connection_to_group, "new", "f" * 32)[0] == 404, "add_connection_to_group: 404 without such a connection")
check(status(service.add_user_to_group, "new", "eve")[0] == 404, "add_user_to_group: 404 without such a user")

# Permissions.
check(ann.ask(type="sendToGroup", group="p", dataType="text", data="x")["error"]["name"] == "Forbidden", "no role, no permission")
check(not service.has_permission("sendToGroup", ann.id, target_name="p"), "has_permission: not yet")
service.grant_permission("sendToGroup", ann.id, target_name="p")
check(service.has_permission("sendToGroup", ann.id, target_name="p"), "grant_permission, has_permission")
check(not service.has_permission("sendToGroup", ann.id, target_name="q"), "for that group only")
check(not service.has_permission("joinLeaveGroup", ann.id, target_name="p"), "and that permission only")
check(ann.ask(type="sendToGroup", group="p", dataType="text", data="x", ackId=2)["success"], "it is in force")
service.revoke_permission("sendToGroup", ann.id, target_name="p")
check(ann.ask(type="sendToGroup", group="p", dataType="text", data="x", ackId=3)["error"]["name"] == "Forbidden", "revoke_permission")
service.grant_permission("joinLeaveGroup", ann.id)
check(ann.ask(type="joinGroup", group="any", ackId=4)["success"], "grant_permission for all groups")
service.revoke_permission("joinLeaveGroup", ann.id)
check(not service.has_permission("joinLeaveGroup", ann.id), "revoke_permission for all groups")

# Roles in a token.
wild = Client("wild", roles=["webpubsub.joinLeaveGroups.room.*", "webpubsub.sendToGroup.lobby"])
check(wild.ask(type="joinGroup", group="room.1")["success"], "wildcard role")
check(wild.ask(type="joinGroup", group="other", ackId=2)["error"]["name"] == "Forbidden", "and its limit")
check(wild.ask(type="sendToGroup", group="lobby", dataType="text", data="x", ackId=3)["success"], "role for one group")

# Errors as the service words them.
code, error = status(service.send_to_all, "x", content_type="text/plain", filter="userId like 'a'")
body = json.loads(error.response.text())
check(code == 400 and body["code"] and body["message"], f"a bad filter is refused: {body['message']}")
too_long = HttpRequest(
    "POST",
    f"/api/hubs/{HUB}/:send?api-version=2024-12-01&messageTtlSeconds=301",
    content="x",
    headers={"Content-Type": "text/plain"},
)
check(service.send_request(too_long).status_code == 400, "a time to live above 300 s is refused")
code, error = status(service.send_to_all, "x" * ((1 << 20) + 1), content_type="text/plain")
check(code == 413, "more than 1 MiB is refused")
code, error = status(service.list_connections(group="g", maxpagesize=201).next)
check(code == 400, "a page size above 200 is refused")
endpoint = dict(part.split("=", 1) for part in CONNECTION_STRING.strip(";").split(";"))["Endpoint"]
stranger = WebPubSubServiceClient(endpoint, HUB, AzureKeyCredential("not the key, but as long as one must be"))
check(status(stranger.send_to_all, "x", content_type="text/plain")[0] == 401, "another key is refused")
check(service.send_request(
    HttpRequest("GET", f"/api/hubs/{HUB}/nothing?api-version=2024-12-01")).status_code == 404, "no such operation: 404")
check(service.send_request(HttpRequest("HEAD", "/api/health")).status_code == 200, "health")

# Ends.
service.close_connection(ann2.id, reason="one")
check(ann2.ended() == (1000, "one"), "close_connection: reason, then 1000")
service.close_group_connections("crowd", excluded=[crowd[0].id], reason="crowd")
check(all(c.ended() == (1000, "crowd") for c in crowd[1:]), "close_group_connections")
check(service.connection_exists(crowd[0].id), "but the excluded one")
service.close_user_connections("crowd", reason="user")
check(crowd[0].ended() == (1000, "user"), "close_user_connections")
service.close_all_connections(excluded=[bob.id])
check(ann.ended() == (1000, "") and wild.ended() == (1000, ""), "close_all_connections, without a reason")
check(service.connection_exists(bob.id), "but the excluded one")
service.close_connection("f" * 32)
check(True, "closing whom there is not is no error")
print("python service passed")
