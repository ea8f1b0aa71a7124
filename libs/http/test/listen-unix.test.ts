import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listenUnix, requestUnix, SocketOwnedError } from "../src/index.ts";
import { readText } from "../src/ndjson.ts";

let folder: string;
let socketPath: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "aether-lock-"));
  socketPath = join(folder, "test.sock");
});

afterEach(() => rmSync(folder, { recursive: true }));

const starter = `
import { createServer } from "node:http";
import { listenUnix } from ${JSON.stringify(join(import.meta.dirname, "../src/index.ts"))};
const server = createServer((request, response) => response.end(String(process.pid)));
try {
  await listenUnix(server, { path: process.argv[1], mode: 0o660 });
  console.log("owner");
} catch (error) {
  console.log(error.name);
  process.exit(0);
}`;

/** Starts a process that tries to own the socket; answers what became of it. */
async function startOwner(): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", starter, socketPath], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [said] = await once(child.stdout, "data");
  return { child, said: String(said).trim() };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

describe("listenUnix", () => {
  it("gives the socket to one of eight that start at once, also after the owner was killed", {
    timeout: 60_000,
  }, async () => {
    for (let round = 0; round < 3; round++) {
      const started = await Promise.all(Array.from({ length: 8 }, startOwner));
      try {
        const owners = started.filter(({ said }) => said === "owner");
        expect(owners).toHaveLength(1);
        expect(started.filter(({ said }) => said === "SocketOwnedError")).toHaveLength(7);
        const answer = await requestUnix({ socketPath, method: "GET", path: "/" });
        expect(await readText(answer.body, 100)).toBe(String(owners[0]?.child.pid));
      } finally {
        // Killed, so that the next round finds a stale socket.
        await Promise.all(started.map(({ child }) => end(child)));
      }
      expect(statSync(socketPath).isSocket()).toBe(true);
    }
  });

  it("is born with its mode and leaves nothing but the lock behind", async () => {
    const server = createServer();
    {
      await using _listener = await listenUnix(server, { path: socketPath, mode: 0o660, gid: process.getgid?.() ?? 0 });
      expect(statSync(socketPath).mode & 0o777).toBe(0o660);
      expect(statSync(`${socketPath}.lock`).mode & 0o777).toBe(0o600);
      await expect(listenUnix(createServer(), { path: socketPath, mode: 0o660 })).rejects.toThrow(SocketOwnedError);
    }
    expect(statSync(socketPath, { throwIfNoEntry: false })).toBeUndefined();
    await using _again = await listenUnix(createServer(), { path: socketPath, mode: 0o600 });
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  it("leaves what is not a socket alone", async () => {
    writeFileSync(socketPath, "mine");
    await expect(listenUnix(createServer(), { path: socketPath, mode: 0o660 })).rejects.toThrow("not a socket");
  });

  it("names the kernel's limit when the path is too long", async () => {
    const path = join(folder, "x".repeat(120));
    await expect(listenUnix(createServer(), { path, mode: 0o660 })).rejects.toThrow("107 bytes");
  });
});

describe("requestUnix", () => {
  it("says what to do when nobody serves the socket", async () => {
    await expect(requestUnix({ socketPath, method: "GET", path: "/" })).rejects.toThrow("aether up");
  });

  it.runIf(process.getuid?.() === 0)("names the group when the socket is closed to the caller", async () => {
    await using _listener = await listenUnix(createServer(), { path: socketPath, mode: 0o660, gid: 1 });
    chmodSync(folder, 0o755);
    const program = `
      import { requestUnix } from ${JSON.stringify(join(import.meta.dirname, "../src/client.ts"))};
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      await requestUnix({ socketPath: process.argv[1], method: "GET", path: "/" }).catch((error) => console.log(error.message));`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, socketPath], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = await once(child.stdout, "data");
    expect(String(said)).toMatch(/open to the group daemon\. Join it with/);
    await end(child);
  });
});
