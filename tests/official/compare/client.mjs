// The script, played by the official JS client. Lines on stdout ask for a step of the
// recorder's, lines on stdin say that it is done.

import { createInterface } from "node:readline";
import { WebPubSubClient } from "@azure/web-pubsub-client";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function step(name) {
  console.log(name);
  await lines.next();
}

let wake;
let connections = 0;
const client = new WebPubSubClient(process.argv[2]);
client.on("connected", () => {
  connections += 1;
  if (wake) wake();
});
async function connected(count) {
  while (connections < count) await new Promise((resolve) => (wake = resolve));
}

await client.start();
await connected(1);
await client.joinGroup("g");
for (let number = 0; number < 20; number += 1) {
  await client.sendToGroup("g", `m-${number}`, "text");
}
await step("settle");
await step("drop");
await client.sendToGroup("g", "after the drop", "text");
await step("settle");
await step("restart");
await connected(2);
await step("settle");
await client.sendToGroup("g", "after the restart", "text");
await client.leaveGroup("g");
await step("settle");
client.stop();
await step("end");
process.exit(0);
