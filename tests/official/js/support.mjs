// A hub as a child process, a TCP proxy that can be cut, and waiting with a limit.
import { spawn } from "node:child_process";
import net from "node:net";
import readline from "node:readline";

const patience = 20_000;

export function check(condition, what) {
  if (!condition) throw new Error(`failed: ${what}`);
  console.log(`ok: ${what}`);
}

export function until(condition, what) {
  return new Promise((resolve, reject) => {
    const end = Date.now() + patience;
    const timer = setInterval(() => {
      if (condition()) {
        clearInterval(timer);
        console.log(`ok: ${what}`);
        resolve();
      } else if (Date.now() > end) {
        clearInterval(timer);
        reject(new Error(`failed, waited ${patience} ms: ${what}`));
      }
    }, 10);
  });
}

// Starts a hub; gives its process, its port, and the connection string that it shows.
export function startHub(port, ...more) {
  const child = spawn(process.env.HUBSTORM, ["hub", "--listen", `127.0.0.1:${port}`, ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  // A failed check must not leave the hub behind.
  process.on("exit", () => child.kill("SIGKILL"));
  return new Promise((resolve, reject) => {
    let listening;
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the hub ended with ${code}`)));
    readline.createInterface({ input: child.stdout }).on("line", (line) => {
      const ready = line.match(/^listening on http:\/\/.*:(\d+)$/);
      if (ready) listening = Number(ready[1]);
      const shown = line.match(/(Endpoint=\S+)/);
      if (shown) resolve({ child, port: listening, connectionString: shown[1] });
    });
  });
}

export async function stopHub(hub, signal) {
  hub.child.removeAllListeners("exit");
  const ended = new Promise((resolve) => hub.child.on("exit", resolve));
  hub.child.kill(signal);
  await ended;
}

// A proxy to whatever `target()` says; `cut()` resets all that goes through it.
export function startProxy(target) {
  const sockets = new Set();
  const server = net.createServer((client) => {
    const upstream = net.connect(target(), "127.0.0.1");
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => { sockets.delete(from); to.destroy(); });
    }
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({
    port: server.address().port,
    cut: () => { for (const socket of sockets) socket.resetAndDestroy(); },
    stop: () => { for (const socket of sockets) socket.destroy(); server.close(); },
  })));
}
