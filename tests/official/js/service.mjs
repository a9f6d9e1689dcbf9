// Every operation of the official JS service SDK that `round.mjs` leaves out, and its own
// way to write filters.
import { WebPubSubServiceClient, odata } from "@azure/web-pubsub";
import { WebPubSubClient } from "@azure/web-pubsub-client";
import { check, startHub, stopHub, until } from "./support.mjs";

const hub = await startHub(0, "--access-key", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH");
const service = new WebPubSubServiceClient(hub.connectionString, "Service", { allowInsecureConnection: true });

// A client and what it has seen.
async function connect(userId, groups = []) {
  const token = await service.getClientAccessToken({ userId, groups, expirationTimeInMinutes: 5 });
  const client = new WebPubSubClient(token.url, { autoReconnect: false });
  const it = { client, seen: [], stopped: false, why: undefined };
  client.on("connected", (e) => { it.id = e.connectionId; });
  client.on("server-message", (e) => it.seen.push(e.message.data));
  client.on("group-message", (e) => it.seen.push(`${e.message.group}:${e.message.data}`));
  client.on("disconnected", (e) => { it.why = e.message?.message; });
  client.on("stopped", () => { it.stopped = true; });
  await client.start();
  await until(() => it.id, `${userId} is connected`);
  return it;
}
const text = { contentType: "text/plain" };
const ann = await connect("ann", ["g", "h"]);
const bob = await connect("bob o'neil", ["g"]);
const group = service.group("g");

await service.sendToAll("1", { ...text, filter: odata`userId eq ${"bob o'neil"}` });
await group.sendToAll("2", { ...text, filter: odata`'h' in groups` });
await group.sendToAll("3", { ...text, excludedConnections: [ann.id] });
await service.sendToUser("ann", "4", { ...text, filter: odata`connectionId ne ${bob.id}`, messageTtlSeconds: 60 });
await service.sendToConnection(bob.id, "5", text);
await until(() => ann.seen.join() === "g:2,4" && bob.seen.join() === "1,g:3,5", "filters, exclusions, users, connections");
check(ann.seen.length === 2, "and nothing else");

const crowd = [];
for (let n = 0; n < 5; n += 1) crowd.push(await connect("crowd", ["crowd"]));
const sizes = [];
const listing = await service.group("crowd").listConnections({ maxPageSize: 2 });
for await (const page of listing.byPage()) sizes.push(page.value?.length ?? page.length);
check(sizes.reduce((a, b) => a + b, 0) === 5, `pages of ${sizes}`);
const some = [];
for await (const member of await service.group("crowd").listConnections({ top: 3 })) some.push(member);
check(some.length === 3 && some.every((member) => member.userId === "crowd"), "the first three");

await service.group("x").addUser("crowd");
check(await service.groupExists("x"), "addUser");
await service.group("x").removeUser("crowd");
check(!(await service.groupExists("x")), "removeUser");
await service.group("x").addConnection(ann.id);
await service.removeConnectionFromAllGroups(ann.id);
check(!(await service.groupExists("x")) && !(await service.groupExists("h")), "removeConnectionFromAllGroups");
await service.group("x").addUser("crowd");
await service.removeUserFromAllGroups("crowd");
check(!(await service.groupExists("crowd")) && !(await service.groupExists("x")), "removeUserFromAllGroups");

check(!(await service.hasPermission(ann.id, "joinLeaveGroup", { targetName: "p" })), "no permission without a role");
await service.grantPermission(ann.id, "joinLeaveGroup", { targetName: "p" });
check(await service.hasPermission(ann.id, "joinLeaveGroup", { targetName: "p" }), "grantPermission for a group");
await ann.client.joinGroup("p");
check(await service.groupExists("p"), "it is in force");
await service.revokePermission(ann.id, "joinLeaveGroup", { targetName: "p" });
const denied = await ann.client.joinGroup("p", { ackId: 77 }).then(() => null, (e) => e);
check(denied?.errorDetail?.name === "Forbidden", "revokePermission");

const status = (promise) => promise.then(() => 0, (e) => e.statusCode);
check((await status(service.group("new").addConnection("f".repeat(32)))) === 404, "addConnection: 404 without such a connection");
check((await status(service.group("new").addUser("eve"))) === 404, "addUser: 404 without such a user");
check((await status(service.sendToAll("x", { ...text, messageTtlSeconds: 301 }))) === 400, "a time to live above 300 s is refused");
check((await status(service.group(" ").sendToAll("x", text))) === 400, "a group name of white space is refused");
check((await status(service.sendToAll("x".repeat((1 << 20) + 1), text))) === 413, "more than 1 MiB is refused");
check((await status(service.closeConnection("f".repeat(32)))) === 0, "closing whom there is not is no error");

// By filter again, then the group they are in.
await service.addConnectionsToGroups(["crowd"], odata`userId eq ${"crowd"}`);
await service.group("crowd").closeAllConnections({ reason: "crowd" });
await until(() => crowd.every((it) => it.stopped && it.why === "crowd"), "group closeAllConnections with its reason");
check(await service.connectionExists(ann.id), "but nobody else");
await service.closeAllConnections({ reason: "all" });
await until(() => [ann, bob].every((it) => it.stopped && it.why === "all"), "closeAllConnections with its reason");
check(!(await service.userExists("ann")), "for good");
await stopHub(hub, "SIGTERM");
console.log("service passed");
process.exit(0);
