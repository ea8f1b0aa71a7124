import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { examples, type LogFrame, ProblemError } from "@aether/contracts";
import { createProblemServer, type Exchange, listenUnix, openStream, readJsonBody, writeJson } from "@aether/http";
import { describe, expect, it } from "vitest";
import { type Client, createClient, createUnixTransport } from "../src/index.ts";

interface Seen {
  method: string;
  url: string;
  body: unknown;
  headers: Exchange["request"]["headers"];
}

/** A peer that plays the gateway by a script, and a client of it. */
async function start(answer: (exchange: Exchange, seen: Seen) => void | Promise<void>) {
  const socketPath = join(tmpdir(), `aether-client-${randomUUID().slice(0, 8)}.sock`);
  const seen: Seen[] = [];
  const server = createProblemServer({
    async handle(exchange) {
      const { request } = exchange;
      const body = await readJsonBody(request, { maxBytes: 100_000 });
      const one = { method: request.method ?? "", url: request.url ?? "", body, headers: request.headers };
      seen.push(one);
      await answer(exchange, one);
    },
    onUnexpected: (error) => {
      throw error;
    },
    maxHeaderBytes: 16_384,
  });
  const listener = await listenUnix(server, { path: socketPath, mode: 0o600 });
  const transport = createUnixTransport(socketPath);
  const client: Client = createClient(transport);
  return {
    client,
    seen,
    socketPath,
    async [Symbol.asyncDispose]() {
      transport[Symbol.dispose]();
      server.closeAllConnections();
      await listener[Symbol.asyncDispose]();
      rmSync(`${socketPath}.lock`);
    },
  };
}

const line = (seq: number): LogFrame => ({
  seq,
  attempt: 1,
  ts: "2026-11-23T10:00:00.000Z",
  stream: "stdout",
  data: `${seq}`,
});
const eof: LogFrame = { type: "eof", last_seq: 4, state: "succeeded", reason: null, exit_code: 0 };
const id = examples["jobs.get"]?.params?.id ?? "";
const job = examples["jobs.get"]?.reply;

/** Plays one connection of a follow after the other: one without eof breaks, one that ends in an error frame ends. */
const playLogs = (connections: (LogFrame[] | 503)[]) => async (exchange: Exchange) => {
  const frames = connections.shift();
  if (frames === 503 || !frames) throw new ProblemError("unavailable");
  const stream = openStream(exchange.response, { contentType: "application/x-ndjson" });
  for (const frame of frames) await stream.write(`${JSON.stringify(frame)}\n`);
  const last = frames.at(-1);
  if (last && "type" in last && last.type !== "heartbeat") return stream.end();
  await new Promise((resolve) => exchange.response.write("\n", resolve));
  stream.abort();
};

async function collect(frames: AsyncIterable<LogFrame>): Promise<LogFrame[]> {
  const all: LogFrame[] = [];
  for await (const frame of frames) all.push(frame);
  return all;
}

describe("the client", () => {
  it("sends what the contract says: path, query, body and headers", async () => {
    await using peer = await start(({ response }) => writeJson(response, 200, job));
    await peer.client.jobs.submit({ command: ["true"] }, { wait: "30s", idempotencyKey: "k", intentId: "int_x" });
    await peer.client.jobs.get(id, { wait: "1s" });
    await peer.client.jobs.stop(id, { grace: "5s" });
    await peer.client.jobs.kill(id);
    expect(peer.seen).toMatchObject([
      {
        method: "POST",
        url: "/v0/jobs?wait=30s",
        body: { command: ["true"] },
        headers: { "idempotency-key": "k", "aether-intent-id": "int_x" },
      },
      { method: "GET", url: `/v0/jobs/${id}?wait=1s`, body: undefined },
      { method: "POST", url: `/v0/jobs/${id}/stop`, body: { grace: "5s" } },
      { method: "POST", url: `/v0/jobs/${id}/kill`, body: {} },
    ]);
  });

  it("repeats list parameters and leaves unset ones out", async () => {
    await using peer = await start(({ response }) => writeJson(response, 200, examples["jobs.list"]?.reply));
    await peer.client.jobs.list({ state: ["queued", "running"], label: ["a=1"], limit: 2 });
    expect(peer.seen[0]?.url).toBe("/v0/jobs?state=queued&state=running&label=a%3D1&limit=2");
  });

  it("throws the problem that was answered", async () => {
    await using peer = await start(() => Promise.reject(new ProblemError("policy-denied", { detail: "no" })));
    const failed = await peer.client.jobs.get(id).catch((error: unknown) => error);
    expect(failed).toMatchObject({ slug: "policy-denied", problem: { status: 403, detail: "no" } });
  });

  it("refuses an answer that is not what the contract says", async () => {
    await using peer = await start(({ response }) => writeJson(response, 200, { id }));
    await expect(peer.client.jobs.get(id)).rejects.toThrow("something else than its contract");
  });

  it("reads health also when the system is down", async () => {
    await using peer = await start(({ response }) => writeJson(response, 503, { status: "down", services: [] }));
    expect(await peer.client.health()).toEqual({ status: "down", services: [] });
  });

  it("goes on with a follow where it broke, each frame once, without heartbeats", async () => {
    await using peer = await start(
      playLogs([[line(1), { type: "heartbeat" }, line(2)], 503, [], [line(3)], [line(4), eof]]),
    );
    expect(await collect(peer.client.jobs.logs(id, { follow: true, tail: 9 }))).toEqual([
      line(1),
      line(2),
      line(3),
      line(4),
      eof,
    ]);
    const queries = peer.seen.map(({ url }) => url.slice(url.indexOf("?")));
    expect(queries).toEqual(["?follow=1&tail=9", ...Array(3).fill("?follow=1&after=2"), "?follow=1&after=3"]);
  });

  it("goes on after an error frame that may pass, and throws one that does not", async () => {
    const passing: LogFrame = {
      type: "error",
      problem: { title: "away", status: 503, type: "urn:aether:problem:unavailable" },
    };
    const lasting: LogFrame = {
      type: "error",
      problem: { title: "gone", status: 404, type: "urn:aether:problem:not-found" },
    };
    await using peer = await start(
      playLogs([
        [line(1), passing],
        [line(2), lasting],
      ]),
    );
    const seen: LogFrame[] = [];
    const read = async () => {
      for await (const frame of peer.client.jobs.logs(id, { follow: true })) seen.push(frame);
    };
    await expect(read()).rejects.toMatchObject({ slug: "not-found" });
    expect(seen).toEqual([line(1), line(2)]);
  });

  it("does not go on with what never began, nor after the time for it", async () => {
    await using peer = await start(playLogs([503, [line(1)], 503]));
    await expect(collect(peer.client.jobs.logs(id, { follow: true }))).rejects.toMatchObject({ slug: "unavailable" });
    await expect(collect(peer.client.jobs.logs(id, { follow: true, resumeForMs: 0 }))).rejects.toThrow();
    const nobody = createClient(createUnixTransport(`${peer.socketPath}.nobody`));
    await expect(collect(nobody.jobs.logs(id, { follow: true }))).rejects.toThrow("aether up");
  });

  it("ends when its caller stops listening or aborts", async () => {
    await using peer = await start(async ({ response }) => {
      const stream = openStream(response, { contentType: "application/x-ndjson" });
      await stream.write(`${JSON.stringify(line(1))}\n`);
    });
    for await (const frame of peer.client.jobs.logs(id, { follow: true })) {
      expect(frame).toEqual(line(1));
      break;
    }
    const stop = new AbortController();
    const frames = peer.client.jobs.logs(id, { follow: true, signal: stop.signal });
    await frames.next();
    stop.abort();
    await expect(frames.next()).rejects.toThrow();
  });
});
