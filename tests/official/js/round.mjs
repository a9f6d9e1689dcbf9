// The official JS client and service SDK against the hub: connect, join, send, REST, a
// recovery after a cut link, a reconnect and a rejoin after the hub was killed.
import { WebPubSubServiceClient } from "@azure/web-pubsub";
import { WebPubSubClient } from "@azure/web-pubsub-client";
import { check, startHub, startProxy, stopHub, until } from "./support.mjs";

// The key that the official emulator publishes: with it in force, tokens are checked and
// the connection string is still shown.
const key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";
let hub = await startHub(0, "--access-key", key);
const proxy = await startProxy(() => hub.port);
// Through the proxy: its address is in the tokens' audience and in the Host header alike.
const connectionString = hub.connectionString.replace(/localhost:\d+/, `localhost:${proxy.port}`);
const service = new WebPubSubServiceClient(connectionString, "Chat", { allowInsecureConnection: true });
const roles = ["webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"];
const credential = (userId) => ({
  getClientAccessUrl: async () => (await service.getClientAccessToken({ userId, roles })).url,
});

const seen = { group: [], server: [], connected: [], disconnected: 0, rejoinFailed: 0 };
const client = new WebPubSubClient(credential("ann"));
client.on("group-message", (e) => seen.group.push(e.message));
client.on("server-message", (e) => seen.server.push(e.message));
client.on("connected", (e) => seen.connected.push(e.connectionId));
client.on("disconnected", () => { seen.disconnected += 1; });
client.on("rejoin-group-failed", () => { seen.rejoinFailed += 1; });
await client.start();
await until(() => seen.connected.length === 1, "connected");
const first = seen.connected[0];
await client.joinGroup("g/1 é");
await client.sendToGroup("g/1 é", { n: 1 }, "json");
await client.sendToGroup("g/1 é", "two", "text");
await client.sendToGroup("g/1 é", new Uint8Array([3]).buffer, "binary");
await client.sendToGroup("g/1 é", "not for me", "text", { noEcho: true });
await until(() => seen.group.length === 3, "three messages, not the one with noEcho");
check(seen.group[0].data.n === 1 && seen.group[0].fromUserId === "ann", "json with its sender");
check(seen.group[1].data === "two", "text");
check(new Uint8Array(seen.group[2].data)[0] === 3, "binary");
await client.sendEvent("hello", "event", "text");
await until(() => seen.server.length === 1, "the built-in handler echoes an event");
const invoked = await client.invokeEvent("hello", { a: 1 }, "json");
check(invoked.data.a === 1, "an invocation is answered");
const badEvent = await client.invokeEvent("no event's name", "x", "text").then(() => "", (e) => e.errorDetail?.name);
check(badEvent === "BadRequest", "an invocation that cannot be made is refused");

// Streams: one that is cut in its middle and goes on, one that fails, one that is refused.
const streams = new Map();
const listening = client.onGroupStream(async (stream) => {
  const heard = { parts: [], error: undefined, done: false };
  streams.set(stream.streamId, heard);
  try {
    for await (const message of stream) heard.parts.push(message.data);
  } catch (error) {
    heard.error = error;
  }
  heard.done = true;
}, { handleFromStart: true });
seen.group.length = 0;
const story = await client.openGroupStream("g/1 é", { streamId: "story" });
for (let n = 1; n <= 20; n += 1) await story.write({ n }, "json");
await until(() => streams.get("story")?.parts.length === 20, "twenty parts of a stream");
proxy.cut();
for (let n = 21; n <= 40; n += 1) await story.write({ n }, "json");
await story.end();
await until(() => streams.get("story").done, "the stream goes on after the recovery, to its end");
check(streams.get("story").parts.map((p) => p.n).join() === Array.from({ length: 40 }, (_, n) => n + 1).join(), "whole and in order");
check(streams.get("story").error === undefined, "and ends well");
check(seen.connected.length === 1, "on the same connection");
const broken = await client.openGroupStream("g/1 é", { streamId: "broken", noEcho: false });
await broken.write("half", "text");
await broken.abort({ message: "out of ink", userErrorCode: "ink" });
await until(() => streams.get("broken")?.done, "a stream that fails says so");
check(streams.get("broken").error?.name === "UserError" && streams.get("broken").error?.userErrorCode === "ink", "with the publisher's code");
const refused = await client.openGroupStream(" ", {}).then(() => "", (e) => e.name);
check(refused === "BadRequest", "a stream to no group is refused");
await listening.close();
seen.group.length = 0;

// The service SDK.
check(await service.connectionExists(first), "connectionExists");
check(!(await service.connectionExists("f".repeat(32))), "no such connection");
check(await service.userExists("ann"), "userExists");
check(await service.groupExists("g/1 é"), "groupExists");
await service.sendToAll({ all: 1 });
await service.sendToAll({ all: 2 }, { filter: "userId eq 'bob'" });
await service.sendToAll({ all: 3 }, { excludedConnections: [first] });
await service.sendToUser("ann", "to ann", { contentType: "text/plain" });
await service.sendToConnection(first, new Uint8Array([9]).buffer, { contentType: "application/octet-stream" });
await until(() => seen.server.length === 4, "REST sends to all, user, connection; not those for others");
await service.group("g/1 é").sendToAll({ group: 1 }, { messageTtlSeconds: 60 });
await until(() => seen.group.length === 1, "REST send to a group");
const members = [];
for await (const member of await service.group("g/1 é").listConnections()) members.push(member.connectionId);
check(members.length === 1 && members[0] === first, "the group's connections are listed");
await service.group("other").addConnection(first);
await service.group("other").addUser("ann");
await service.addConnectionsToGroups(["third"], "userId eq 'ann'");
check(await service.groupExists("third"), "connections are added to groups by filter");
await service.removeConnectionsFromGroups(["third"], "userId eq 'ann'");
check(!(await service.groupExists("third")), "and removed");
await service.group("other").removeConnection(first);
check(!(await service.groupExists("other")), "an empty group is gone");
check(await service.hasPermission(first, "sendToGroup", { targetName: "x" }), "hasPermission");
await service.revokePermission(first, "sendToGroup");
check(!(await service.hasPermission(first, "sendToGroup")), "revokePermission");
await service.grantPermission(first, "sendToGroup");
check(await service.hasPermission(first, "sendToGroup"), "grantPermission");
const bad = await service.sendToAll("x", { filter: "nonsense", contentType: "text/plain" }).then(() => 0, (e) => e.statusCode);
check(bad === 400, "a bad filter is refused with 400");
const stranger = new WebPubSubServiceClient(connectionString.replace(/AccessKey=[^;]*/, "AccessKey=another"), "Chat", { allowInsecureConnection: true });
const unauthorized = await stranger.userExists("ann").then(() => 0, (e) => e.statusCode);
check(unauthorized === 401, "another key is refused with 401");
const intruder = new WebPubSubClient((await stranger.getClientAccessToken()).url, { autoReconnect: false });
check(await intruder.start().then(() => false, () => true), "and its tokens do not connect");

// Recovery after a cut link: what was sent meanwhile arrives, on the same connection.
seen.group.length = 0;
proxy.cut();
for (let n = 0; n < 5; n += 1) {
  const direct = hub.connectionString;
  await new WebPubSubServiceClient(direct, "Chat", { allowInsecureConnection: true }).group("g/1 é").sendToAll({ n });
}
await until(() => seen.group.length === 5, "five messages of the outage arrive after the recovery");
check(seen.group.map((m) => m.data.n).join() === "0,1,2,3,4", "in order");
check(seen.connected.length === 1 && seen.disconnected === 0, "without a new connection");

// The hub is killed and comes back: a new connection, and the group joined again.
await stopHub(hub, "SIGKILL");
hub = await startHub(hub.port, "--access-key", key);
await until(() => seen.connected.length === 2, "reconnected after the hub was killed");
check(seen.connected[1] !== first && seen.disconnected === 1, "as a new connection");
seen.group.length = 0;
await client.sendToGroup("g/1 é", "again", "text");
await until(() => seen.group.length === 1, "rejoined by itself");
check(seen.rejoinFailed === 0, "no rejoin failed");

// Closed by the service: the client comes back as a new connection.
await service.closeConnection(seen.connected[1], { reason: "enough" });
await until(() => seen.connected.length === 3, "closed by REST and back again");
await client.stop();
proxy.stop();
await stopHub(hub, "SIGTERM");
console.log("round passed");
process.exit(0);
