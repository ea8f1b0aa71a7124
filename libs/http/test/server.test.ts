import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync } from "node:fs";
import { connect } from "node:net";
import { Problem, ProblemError } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import {
  openStream,
  parseNdjson,
  peerCredentials,
  readJsonBody,
  readText,
  requestUnix,
  writeJson,
} from "../src/index.ts";
import { sendRaw, startServer } from "./_fixture.ts";

const maxBytes = 1000;

/** Answers the body it was sent. */
const startEcho = () =>
  startServer(async ({ request, response }) => {
    const body = await readJsonBody(request, { maxBytes });
    writeJson(response, 200, { body: body ?? null });
  });

function parseRaw(answer: string): { status: number; head: string; problem: Problem } {
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), head, problem: Problem.parse(JSON.parse(body)) };
}

const get = (headers: string) => `GET / HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`;
const post = (headers: string, body: string | Buffer) =>
  Buffer.concat([
    Buffer.from(`POST / HTTP/1.1\r\nHost: aether\r\nConnection: close\r\n${headers}\r\n`),
    Buffer.from(body),
  ]);
const json = "Content-Type: application/json\r\n";

const refusals: [string, string | Buffer, number][] = [
  ["an Origin", get("Host: aether\r\nOrigin: http://aether\r\n"), 403],
  ["a null Origin", get("Host: aether\r\nOrigin: null\r\n"), 403],
  ["a Host with a dot", get("Host: example.org\r\n"), 403],
  ["an address as Host", get("Host: 127.0.0.1:80\r\n"), 403],
  ["a second Host", get("Host: aether\r\nHost: example\r\n"), 400],
  ["no Host", get(""), 400],
  ["something that is not HTTP", "hello there\r\n\r\n", 400],
  ["an unknown method", "BREW / HTTP/1.1\r\nHost: aether\r\n\r\n", 400],
  ["CONNECT", "CONNECT aether:80 HTTP/1.1\r\nHost: aether\r\n\r\n", 405],
  ["an unknown expectation", get("Host: aether\r\nExpect: tea\r\n"), 400],
  ["headers over 16 KiB", get(`Host: aether\r\nX: ${"x".repeat(17 * 1024)}\r\n`), 431],
  ["an Origin behind 3000 other headers", get(`Host: aether\r\n${"a:\r\n".repeat(3000)}Origin: x\r\n`), 403],
  [
    "both a length and chunks",
    post(`${json}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n`, "2\r\n{}\r\n0\r\n\r\n"),
    400,
  ],
  ["broken JSON", post(`${json}Content-Length: 1\r\n`, "{"), 400],
  ["JSON that is not UTF-8", post(`${json}Content-Length: 3\r\n`, Buffer.from([0x22, 0xff, 0x22])), 400],
  ["another type", post("Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}"), 415],
  ["no type", post("Content-Length: 2\r\n", "{}"), 415],
  ["another charset", post("Content-Type: application/json; charset=latin1\r\nContent-Length: 2\r\n", "{}"), 415],
  ["a compressed body", post(`${json}Content-Encoding: gzip\r\nContent-Length: 2\r\n`, "{}"), 415],
  ["a body that is too large", post(`${json}Content-Length: 1001\r\n`, "x".repeat(1001)), 413],
  [
    "chunks that become too large",
    post(`${json}Transfer-Encoding: chunked\r\n`, `3e9\r\n${"x".repeat(1001)}\r\n0\r\n\r\n`),
    413,
  ],
  ["a huge body", post(`${json}Content-Length: 8000000\r\n`, "x".repeat(8_000_000)), 413],
  ["a length that is no number", post(`${json}Content-Length: many\r\n`, "{}"), 400],
];

describe("the server", () => {
  it.each(refusals)("refuses %s with a problem document", async (_what, bytes, status) => {
    await using fixture = await startEcho();
    const answer = parseRaw(await sendRaw(fixture.socketPath, bytes));
    expect(answer.status).toBe(status);
    expect(answer.problem.status).toBe(status);
    expect(answer.problem.type).toMatch(/^urn:aether:problem:/);
    expect(answer.problem.instance).toMatch(/^urn:aether:request:req_/);
    expect(answer.head).toMatch(/content-type: application\/problem\+json/i);
    expect(fixture.unexpected).toEqual([]);
  });

  it("takes a body of exactly the maximum, in chunks too, and any Host without a dot", async () => {
    await using fixture = await startEcho();
    const body = JSON.stringify("x".repeat(maxBytes - 2));
    for (const headers of [
      { "Content-Type": "application/json" },
      { "Content-Type": "Application/JSON; charset=UTF-8", Host: "localhost:80" },
    ]) {
      const answer = await requestUnix({ socketPath: fixture.socketPath, method: "POST", path: "/", headers, body });
      expect(JSON.parse(await readText(answer.body, 10_000))).toEqual({ body: JSON.parse(body) });
    }
  });

  it("reads on after it has refused a small body whose connection ends, so that the answer is not lost to a reset", async () => {
    await using fixture = await startEcho();
    const sizeBytes = 600 * 1024;
    const socket = connect(fixture.socketPath);
    const closed = once(socket, "close");
    const failed: unknown[] = [];
    socket.on("error", (error) => failed.push(error));
    socket.write(post(`${json}Content-Length: ${sizeBytes}\r\n`, "x".repeat(1024)));
    const [answer] = await once(socket, "data");
    expect(String(answer)).toContain("HTTP/1.1 413");
    for (let left = sizeBytes - 1024; left > 0; left -= 64 * 1024) {
      await new Promise((resolve) => socket.write("x".repeat(Math.min(left, 64 * 1024)), resolve));
    }
    socket.resume();
    await closed;
    expect(failed).toEqual([]);
  });

  it("answers an unexpected error without its details and reports it once", async () => {
    await using fixture = await startServer(() => Promise.reject(new Error("the password is swordfish")));
    const answer = await requestUnix({ socketPath: fixture.socketPath, method: "GET", path: "/" });
    const text = await readText(answer.body, 10_000);
    expect(answer.status).toBe(500);
    expect(text).not.toContain("swordfish");
    expect(fixture.unexpected).toHaveLength(1);
  });

  it("sends Retry-After with what may be tried again", async () => {
    await using fixture = await startServer(() =>
      Promise.reject(new ProblemError("unavailable", { retry_after_ms: 1500 })),
    );
    const answer = await requestUnix({ socketPath: fixture.socketPath, method: "GET", path: "/" });
    expect([answer.status, answer.headers["retry-after"]]).toEqual([503, "2"]);
    answer.body.resume();
  });
});

describe("peerCredentials", () => {
  it("reads the caller's own uid, gid and pid", async () => {
    await using fixture = await startServer(async ({ request, response }) =>
      writeJson(response, 200, peerCredentials(request.socket)),
    );
    const answer = await requestUnix({ socketPath: fixture.socketPath, method: "GET", path: "/" });
    expect(JSON.parse(await readText(answer.body, 10_000))).toMatchObject({
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      pid: process.pid,
    });
  });

  it.runIf(process.getuid?.() === 0)(
    "reads another user's supplementary groups, however many",
    { timeout: 20_000 },
    async () => {
      await using fixture = await startServer(async ({ request, response }) =>
        writeJson(response, 200, peerCredentials(request.socket)),
      );
      chmodSync(fixture.folder, 0o755);
      chmodSync(fixture.socketPath, 0o666);
      const groups = Array.from({ length: 200 }, (_, i) => 5000 + i);
      const program = `
      process.setgroups(${JSON.stringify(groups)}); process.setgid(4242); process.setuid(4243);
      require("node:http").get({ socketPath: process.argv[1], path: "/" }, (answer) => answer.pipe(process.stdout));`;
      const child = spawn(process.execPath, ["-e", program, fixture.socketPath]);
      const seen = JSON.parse(await readText(child.stdout, 100_000));
      expect(seen).toEqual({ uid: 4243, gid: 4242, pid: child.pid, groups });
    },
  );
});

describe("a stream", () => {
  it("waits for a reader that is slow and ends when it leaves", async () => {
    let written = 0;
    const gone = Promise.withResolvers<void>();
    await using fixture = await startServer(async ({ response }) => {
      const stream = openStream(response, { contentType: "application/x-ndjson" });
      const line = `${JSON.stringify({ data: "x".repeat(10_000) })}\n`;
      try {
        for (;;) {
          await stream.write(line);
          written++;
        }
      } catch {
        gone.resolve();
      }
    });
    const answer = await requestUnix({ socketPath: fixture.socketPath, method: "GET", path: "/" });
    const lines = parseNdjson(answer.body);
    await lines.next();
    // The second line is read only now; what lies between is bounded by the two socket buffers.
    await lines.next();
    expect(written).toBeLessThan(1000);
    answer.body.destroy();
    await gone.promise;
  });

  it("carries trailers", async () => {
    await using fixture = await startServer(async ({ response }) => {
      const stream = openStream(response, { contentType: "application/octet-stream", trailers: ["Aether-Exit-Code"] });
      await stream.write("hello");
      stream.end({ "Aether-Exit-Code": "3" });
    });
    const answer = await requestUnix({ socketPath: fixture.socketPath, method: "GET", path: "/" });
    expect(await readText(answer.body, 100)).toBe("hello");
    expect(answer.trailers()["aether-exit-code"]).toBe("3");
  });

  it("gives no line that was cut off", async () => {
    const body = (async function* () {
      yield Buffer.from('{"a":"é');
      yield Buffer.from('"}\n\n{"b":1}\n{"c":');
    })();
    const seen: unknown[] = [];
    for await (const value of parseNdjson(body)) seen.push(value);
    expect(seen).toEqual([{ a: "é" }, { b: 1 }]);
  });
});
