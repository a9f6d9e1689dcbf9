// An upstream written with the official express middleware: connect, connected, an event
// with state, a refusal, a failing event, and the end of a connection.
import { createHmac } from "node:crypto";
import express from "express";
import { WebPubSubServiceClient } from "@azure/web-pubsub";
import { WebPubSubClient } from "@azure/web-pubsub-client";
import { WebPubSubEventHandler } from "@azure/web-pubsub-express";
import { check, startHub, stopHub, until } from "./support.mjs";

const seen = { connected: [], disconnected: [], joined: [], left: [], states: [], signatures: [] };
const handler = new WebPubSubEventHandler("Chat", {
  handleConnect(request, response) {
    if (request.context.userId === "mallory") return response.fail(403, "not you");
    response.setState("count", 1);
    response.success({
      userId: `${request.context.userId}@handler`,
      groups: ["lobby"],
      roles: ["webpubsub.sendToGroup.lobby"],
    });
  },
  onConnected: (request) => seen.connected.push(request.context),
  onDisconnected: (request) => seen.disconnected.push(request.reason ?? ""),
  onGroupJoined: (request) => seen.joined.push(request.group),
  onGroupLeft: (request) => seen.left.push(request.group),
  handleUserEvent(request, response) {
    seen.states.push(request.context.states.count);
    if (request.context.eventName === "bad") return response.fail(400, "bad");
    response.setState("count", (request.context.states.count ?? 0) + 1);
    response.success(`${request.dataType}:${JSON.stringify(request.data)}`, "text");
  },
});
const app = express();
app.use((request, _response, next) => {
  const id = request.headers["ce-connectionid"];
  if (id) seen.signatures.push([id, request.headers["ce-signature"]]);
  next();
});
app.use(handler.getMiddleware());
const server = await new Promise((resolve) => {
  const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
});
const upstream = `http://127.0.0.1:${server.address().port}/api/webpubsub/hubs/{hub}/`;
const hub = await startHub(0, "--upstream", upstream, "--system-events", "connect,connected,disconnected,joined,left");
const service = new WebPubSubServiceClient(hub.connectionString, "Chat", { allowInsecureConnection: true });
const url = async (userId) => (await service.getClientAccessToken({ userId })).url;

const refused = new WebPubSubClient(await url("mallory"), { autoReconnect: false });
const error = await refused.start().then(() => null, (e) => e);
check(error !== null, "the handler refuses a connection");

const client = new WebPubSubClient(await url("ann"));
const got = { server: [], group: [] };
client.on("server-message", (e) => got.server.push(e.message.data));
client.on("group-message", (e) => got.group.push(e.message));
await client.start();
await until(() => seen.connected.length === 1, "the handler hears of the connection");
check(seen.connected[0].userId === "ann@handler", "under the user id that it gave");
await client.sendToGroup("lobby", "hi", "text");
await until(() => got.group.length === 1, "in the group and with the role that it gave");
await until(() => seen.joined.join() === "lobby", "and told that the connection joined it");
await client.sendEvent("greet", { a: 1 }, "json");
await client.sendEvent("greet", "text", "text");
await until(() => got.server.length === 2, "events are answered");
check(got.server[0] === 'json:{"a":1}' && got.server[1] === 'text:"text"', "with what the handler says");
check(seen.states.join() === "1,2", "the state is remembered");
const failed = await client.sendEvent("bad", "x", "text").then(() => null, (e) => e);
check(failed?.errorDetail?.name === "InternalServerError", "a failing handler is a failed event");
const key = hub.connectionString.match(/AccessKey=([^;]*)/)[1];
check(
  seen.signatures.every(([id, signature]) =>
    signature === `sha256=${createHmac("sha256", key).update(id).digest("hex")}`),
  "every call is signed",
);
await service.closeUserConnections("ann@handler", { reason: "enough" });
await until(() => seen.disconnected.length === 1, "the handler hears of the end");
check(seen.disconnected[0] === "enough", "with its reason");
await until(() => seen.left.join() === "lobby", "and of the group that was left with it");
await client.stop();
await stopHub(hub, "SIGTERM");
server.close();
server.closeAllConnections();
console.log("express passed");
process.exit(0);
