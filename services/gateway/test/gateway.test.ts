import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { type Bus, seedFile } from "@aether/bus";
import { createId, type Job, LogFrame, Problem, services } from "@aether/contracts";
import { parseNdjson, readText, requestUnix } from "@aether/http";
import { captureLog, requireBackend, startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, type GatewayOverrides, startGateway, toRoles } from "../src/index.ts";
import {
  addEvent,
  addJob,
  appendLines,
  createScript,
  serveEvents,
  serveHealth,
  serveJobs,
  servePolicy,
  setState,
} from "./_services.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`gateway${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  let bus: Bus;
  let jobsBus: Bus;
  let policyBus: Bus;
  let eventsBus: Bus;
  const others = Object.keys(services).filter((name) => !["jobs", "policy", "events"].includes(name));
  const held = new AsyncDisposableStack();
  const folder = tempDir();

  beforeAll(async () => {
    nats = await startNats();
    [bus, jobsBus, policyBus, eventsBus] = await Promise.all([
      nats.connect("gateway"),
      nats.connect("jobs"),
      nats.connect("policy"),
      nats.connect("events"),
    ]);
    for (const name of others) held.use(await serveHealth(held.use(await nats.connect(name)), name));
  });

  afterAll(async () => {
    await held.disposeAsync();
    for (const one of [bus, jobsBus, policyBus, eventsBus]) await one[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  async function start(overrides: GatewayOverrides = {}) {
    const held = new AsyncDisposableStack();
    const script = createScript();
    const log = captureLog();
    const socketPath = join(folder.path, `${randomUUID().slice(0, 8)}.sock`);
    const jobs = held.use(await serveJobs(jobsBus, script));
    const policy = held.use(await servePolicy(policyBus));
    const events = held.use(await serveEvents(eventsBus, script));
    // Until the server knows of the subscriptions, nobody answers.
    await Promise.all([jobsBus, policyBus, eventsBus].map((one) => one.nats.flush()));
    const gateway: Gateway = held.use(await startGateway({ socketPath, bus, ...toRoles({}), log }, overrides));
    return { script, log, socketPath, gateway, jobs, policy, events, [Symbol.asyncDispose]: () => held.disposeAsync() };
  }

  async function send(
    socketPath: string,
    method: string,
    path: string,
    options: { headers?: Record<string, string>; body?: unknown } = {},
  ) {
    const response = await requestUnix({
      socketPath,
      method,
      path,
      headers: { ...(options.body !== undefined && { "Content-Type": "application/json" }), ...options.headers },
      ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
    });
    const text = await readText(response.body, 10_000_000);
    return { status: response.status, headers: response.headers, trailers: response.trailers(), text };
  }

  const json = <T>(answer: { text: string }): T => JSON.parse(answer.text);
  const frames = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => LogFrame.parse(JSON.parse(line)));
  const seqs = (all: LogFrame[]) => all.flatMap((frame) => ("seq" in frame ? [frame.seq] : []));

  it("serves on a socket of mode 0660 and takes it away", async () => {
    let path: string;
    {
      await using fixture = await start();
      path = fixture.socketPath;
      expect(statSync(path).mode & 0o777).toBe(0o660);
    }
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  it("submits as whoever opened the socket, with what the headers say", async () => {
    await using fixture = await start();
    const intentId = createId("int");
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const headers = { "Aether-Intent-Id": intentId, traceparent, "Idempotency-Key": "k1" };
    const answer = await send(fixture.socketPath, "POST", "/v0/jobs", { headers, body: { command: ["true"] } });
    const job = json<Job>(answer);
    expect(answer.status).toBe(201);
    expect(answer.headers.location).toBe(`/v0/jobs/${job.id}`);
    expect(job.spec.working_dir).toBe("/workspace");
    const uid = process.getuid?.() ?? -1;
    expect(fixture.script.calls).toEqual([
      {
        principal: {
          type: "User",
          id: String(uid),
          roles: [uid === 0 ? "operator" : "member"],
          uid,
          gid: process.getgid?.(),
          pid: process.pid,
          groups: expect.any(Array),
        },
        requestId: answer.headers["aether-request-id"],
        intentId,
        traceparent,
      },
    ]);
  });

  it("answers a submit with wait when the job has ended, and with the record when the wait fails", async () => {
    await using fixture = await start();
    const waiting = send(fixture.socketPath, "POST", "/v0/jobs?wait=30s", { body: { command: ["true"] } });
    const [id = ""] = await waitFor("the job", () => fixture.script.jobs.size > 0 && [...fixture.script.jobs.keys()]);
    setState(fixture.script, id, "succeeded", 0);
    const ended = await waiting;
    expect([ended.status, json<Job>(ended).state]).toEqual([201, "succeeded"]);

    const broken = send(fixture.socketPath, "POST", "/v0/jobs?wait=30s", { body: { command: ["true"] } });
    const second = await waitFor("the second job", () => [...fixture.script.jobs.keys()].find((other) => other !== id));
    await fixture.gateway[Symbol.asyncDispose]();
    const made = await broken;
    expect([made.status, json<Job>(made).id]).toEqual([201, second]);
  });

  it("says 202 while a job is being stopped and 200 when it had ended", async () => {
    await using fixture = await start();
    const [running, done] = [addJob(fixture.script, "running"), addJob(fixture.script, "failed")];
    for (const verb of ["stop", "kill"]) {
      expect((await send(fixture.socketPath, "POST", `/v0/jobs/${running.id}/${verb}`)).status).toBe(202);
      expect((await send(fixture.socketPath, "POST", `/v0/jobs/${done.id}/${verb}`, { body: {} })).status).toBe(200);
    }
  });

  it("reads jobs, lists them by state, and asks policy", async () => {
    await using fixture = await start();
    const job = addJob(fixture.script, "running");
    addJob(fixture.script, "failed");
    expect(json<Job>(await send(fixture.socketPath, "GET", `/v0/jobs/${job.id}`)).id).toBe(job.id);
    const list = json<{ items: Job[] }>(
      await send(fixture.socketPath, "GET", "/v0/jobs?state=running&state=queued&limit=5"),
    );
    expect(list.items.map(({ id }) => id)).toEqual([job.id]);
    const check = await send(fixture.socketPath, "POST", "/v0/policy/check", { body: { action: "submit_job" } });
    expect(json(check)).toMatchObject({ decision: "allow" });
  });

  it.each([
    ["an unknown field", "POST", "/v0/jobs", { body: { command: ["true"], colour: "red" } }, 400],
    ["a prototype as field", "POST", "/v0/jobs", { body: JSON.parse('{"command":["true"],"__proto__":{}}') }, 400],
    ["an unknown parameter", "GET", "/v0/jobs?colour=red", {}, 400],
    ["a parameter where there is none", "POST", "/v0/policy/check?dry=1", { body: { action: "submit_job" } }, 400],
    ["a repeated parameter", "GET", "/v0/jobs?limit=1&limit=2", {}, 400],
    [
      "the path's id again in the body",
      "POST",
      `/v0/jobs/${createId("job")}/stop`,
      { body: { id: createId("job") } },
      400,
    ],
    ["a list as body", "POST", "/v0/jobs", { body: [] }, 400],
    ["a body to a GET", "GET", "/v0/jobs", { body: {} }, 400],
    ["after and tail together", "GET", `/v0/jobs/${createId("job")}/logs?after=1&tail=1`, {}, 400],
    ["an id that is none", "GET", "/v0/jobs/..%2F..%2Fetc", {}, 400],
    ["a token", "GET", "/v0/jobs", { headers: { Authorization: "Basic eA==" } }, 401],
    ["an intent that is none", "GET", "/v0/jobs", { headers: { "Aether-Intent-Id": "x" } }, 400],
    [
      "a key with spaces",
      "POST",
      "/v0/jobs",
      { headers: { "Idempotency-Key": "a b" }, body: { command: ["true"] } },
      400,
    ],
    ["an unknown job", "GET", `/v0/jobs/${createId("job")}`, {}, 404],
    ["the log of an unknown job", "GET", `/v0/jobs/${createId("job")}/logs?follow=1`, {}, 404],
    ["an unknown route", "GET", "/v0/tables", {}, 404],
    ["a wrong method", "DELETE", "/v0/jobs", {}, 405],
    ["an OPTIONS", "OPTIONS", "/v0/jobs", {}, 405],
  ] as const)("refuses %s", async (_what, method, path, options, status) => {
    await using fixture = await start();
    const answer = await send(fixture.socketPath, method, path, options);
    const problem = Problem.parse(json(answer));
    expect([answer.status, problem.status]).toEqual([status, status]);
    expect(problem.instance).toBe(`urn:aether:request:${answer.headers["aether-request-id"]}`);
    if (status === 405) expect(answer.headers.allow).toBe("POST, GET");
    expect(fixture.script.jobs.size).toBe(0);
  });

  it("names every fault of a body by its path", async () => {
    await using fixture = await start();
    const body = { command: [], resources: { pids: -1, gpus: 1 }, timeout: "soon" };
    const problem = Problem.parse(json(await send(fixture.socketPath, "POST", "/v0/jobs", { body })));
    expect(problem.errors?.map(({ path }) => path).sort()).toEqual([
      "command",
      "resources.gpus",
      "resources.pids",
      "timeout",
    ]);
  });

  it("is up, degraded without jobs, and down without policy", async () => {
    await using fixture = await start();
    const read = async () => {
      const answer = await send(fixture.socketPath, "GET", "/v0/health");
      return [answer.status, json<{ status: string }>(answer).status];
    };
    expect(await read()).toEqual([200, "up"]);
    await fixture.jobs[Symbol.asyncDispose]();
    expect(await read()).toEqual([200, "degraded"]);
    await fixture.policy[Symbol.asyncDispose]();
    expect(await read()).toEqual([503, "down"]);
    const refused = await send(fixture.socketPath, "GET", "/v0/jobs");
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "1"]);
  });

  it("tells its version and describes itself", async () => {
    await using fixture = await start();
    expect(json(await send(fixture.socketPath, "GET", "/v0/version"))).toMatchObject({
      api: "v0",
      node: process.versions.node,
    });
    expect(json(await send(fixture.socketPath, "GET", "/v0/openapi.json"))).toMatchObject({ openapi: "3.1.0" });
  });

  describe("logs", () => {
    it("gives what there is, or its tail, or what comes after a seq", async () => {
      await using fixture = await start();
      const { id } = addJob(fixture.script);
      appendLines(fixture.script, ["a", "b"]);
      appendLines(fixture.script, ["c", "d"]);
      const read = async (query: string) =>
        frames((await send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs${query}`)).text);
      expect(seqs(await read(""))).toEqual([1, 2, 3, 4]);
      expect(seqs(await read("?after=1"))).toEqual([2, 3, 4]);
      expect(await read("?tail=2")).toMatchObject([
        { seq: 3, data: "c" },
        { seq: 4, data: "d" },
      ]);
    });

    it("answers an empty log with an empty body, whatever the format", async () => {
      await using fixture = await start();
      const { id } = addJob(fixture.script, "succeeded");
      for (const format of ["ndjson", "sse", "raw"]) {
        const answer = await send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs?format=${format}`);
        expect([answer.status, answer.text]).toEqual([200, ""]);
      }
    });

    it("follows to the end through restarts of the service, each frame once", async () => {
      await using fixture = await start();
      const { script, socketPath } = fixture;
      const { id } = addJob(script);
      const following = send(socketPath, "GET", `/v0/jobs/${id}/logs?follow=1`);
      let jobs = fixture.jobs;
      const total = 200;
      for (let n = 1; n <= total; n++) {
        appendLines(script, [`line ${n}`]);
        const pages = script.pages;
        if (n % 50 === 0) {
          await jobs[Symbol.asyncDispose]();
          jobs = await serveJobs(jobsBus, script);
        } else if (n % 7 === 0) {
          await waitFor("a page to be read", () => script.pages > pages || script.pages > n);
        }
      }
      setState(script, id, "succeeded", 0);
      const all = frames((await following).text);
      await jobs[Symbol.asyncDispose]();
      expect(seqs(all)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
      expect(all.at(-1)).toEqual({
        type: "eof",
        last_seq: total,
        state: "succeeded",
        reason: "requested",
        exit_code: 0,
        signal: null,
      });
    });

    it("keeps a quiet follow alive with heartbeats", async () => {
      await using fixture = await start({ heartbeatMs: 20 });
      const { id } = addJob(fixture.script);
      const response = await requestUnix({
        socketPath: fixture.socketPath,
        method: "GET",
        path: `/v0/jobs/${id}/logs?follow=1`,
      });
      const lines = parseNdjson(response.body);
      expect((await lines.next()).value).toEqual({ type: "heartbeat" });
      appendLines(fixture.script, ["x"]);
      const next = await waitFor("the line", async () => {
        const { value } = await lines.next();
        return LogFrame.parse(value);
      });
      expect(["heartbeat", "x"]).toContain("type" in next ? next.type : "data" in next && next.data);
      response.body.destroy();
    });

    it("goes on after the last event id, as server-sent events", async () => {
      await using fixture = await start();
      const { id } = addJob(fixture.script);
      appendLines(fixture.script, ["a", "b", "c"]);
      setState(fixture.script, id, "succeeded", 0);
      const headers = { Accept: "text/event-stream", "Last-Event-ID": "2" };
      const answer = await send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs?follow=1`, { headers });
      expect(answer.headers["content-type"]).toBe("text/event-stream");
      expect(answer.text).toMatch(/^id: 3\ndata: \{"seq":3,.*\}\n\ndata: \{"type":"eof",.*\}\n\n$/);
    });

    it.each([
      ["succeeded", 0, "0"],
      ["failed", 7, "7"],
      ["timed_out", null, "124"],
      ["lost", null, "125"],
    ] as const)("carries the exit of a job that %s in raw's trailer", async (state, exitCode, trailer) => {
      await using fixture = await start();
      const { id } = addJob(fixture.script);
      appendLines(fixture.script, ["a"]);
      setState(fixture.script, id, state, exitCode);
      const answer = await send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs?follow=1&format=raw`);
      expect([answer.text, answer.trailers["aether-exit-code"]]).toEqual(["a\n", trailer]);
    });

    it("stops asking when its reader has gone", async () => {
      await using fixture = await start({ heartbeatMs: 20 });
      const { id } = addJob(fixture.script);
      const response = await requestUnix({
        socketPath: fixture.socketPath,
        method: "GET",
        path: `/v0/jobs/${id}/logs?follow=1`,
      });
      await parseNdjson(response.body).next();
      response.body.destroy();
      await waitFor("the request to end", () => fixture.log.lines.some(({ message }) => message === "answered"));
      const { pages } = fixture.script;
      fixture.script.changed();
      appendLines(fixture.script, ["nobody reads this"]);
      await send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs`);
      expect(fixture.script.pages - pages).toBeLessThanOrEqual(2);
      expect(fixture.log.lines.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
    });

    it("ends a follow with an error when the services do not come back", async () => {
      await using fixture = await start({ retryForMs: 0 });
      const { id } = addJob(fixture.script);
      appendLines(fixture.script, ["a"]);
      const response = await requestUnix({
        socketPath: fixture.socketPath,
        method: "GET",
        path: `/v0/jobs/${id}/logs?follow=1`,
      });
      const lines = parseNdjson(response.body);
      expect((await lines.next()).value).toMatchObject({ seq: 1 });
      await fixture.jobs[Symbol.asyncDispose]();
      expect((await lines.next()).value).toMatchObject({ type: "error", problem: { status: 503 } });
      expect((await lines.next()).done).toBe(true);
    });

    it("ends a follow without eof when the gateway ends", async () => {
      await using fixture = await start();
      const { id } = addJob(fixture.script);
      appendLines(fixture.script, ["a"]);
      const following = send(fixture.socketPath, "GET", `/v0/jobs/${id}/logs?follow=1`);
      await waitFor("the follow to wait", () => fixture.script.pages >= 2);
      await fixture.gateway[Symbol.asyncDispose]();
      expect(seqs(frames((await following).text))).toEqual([1]);
    });
  });

  describe("events", () => {
    const values = (text: string) =>
      text
        .split("\n")
        .filter(Boolean)
        .map((line): { sequence?: string; type: string; after?: number; problem?: { status: number } } =>
          JSON.parse(line),
        );
    const places = (text: string) => values(text).flatMap(({ sequence }) => (sequence ? [Number(sequence)] : []));

    it("are given up to what was stored when asked, no more than wanted", async () => {
      await using fixture = await start();
      expect((await send(fixture.socketPath, "GET", "/v0/events")).text).toBe("");
      for (let n = 1; n <= 10; n++) addEvent(fixture.script, n % 2 ? "odd" : "even");
      const get = async (query: string) => places((await send(fixture.socketPath, "GET", `/v0/events${query}`)).text);
      expect(await get("")).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(await get("?after=8")).toEqual([9, 10]);
      expect(await get("?limit=4")).toEqual([1, 2, 3, 4]);
      expect(await get("?follow=1&limit=7")).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(await get("?type=odd&after=2")).toEqual([3, 5, 7, 9]);
    });

    it("are followed through restarts of the service, each once", async () => {
      await using fixture = await start();
      const following = send(fixture.socketPath, "GET", "/v0/events?follow=1&limit=200");
      await waitFor("the follow", () => fixture.script.pages > 0);
      let { events } = fixture;
      for (let n = 1; n <= 200; n++) {
        addEvent(fixture.script);
        if (n % 50 === 0) {
          await events[Symbol.asyncDispose]();
          events = await serveEvents(eventsBus, fixture.script);
        }
      }
      expect(places((await following).text)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
      await events[Symbol.asyncDispose]();
    });

    it("are server-sent events with the place as id, and heartbeats that move it", async () => {
      await using fixture = await start({ heartbeatMs: 20 });
      for (let n = 0; n < 3; n++) addEvent(fixture.script);
      const headers = { Accept: "text/event-stream", "Last-Event-ID": "2" };
      const response = await requestUnix({
        ...{
          socketPath: fixture.socketPath,
          method: "GET",
          path: "/v0/events?follow=1&type=com.example.test",
          headers,
        },
      });
      expect(response.headers["content-type"]).toBe("text/event-stream");
      let text = "";
      response.body.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      await waitFor("a heartbeat", () => text.includes("heartbeat"));
      expect(text).toMatch(/^id: 3\ndata: \{.*"sequence":"000000000003"\}\n\nid: 3\n: heartbeat\n\n/);
      addEvent(fixture.script, "another");
      addEvent(fixture.script);
      await waitFor("the next", () => text.includes("\n\nid: 5\ndata: "));
      response.body.destroy();
    });

    it("end with an error when the service does not come back, and a follow says how far it was", async () => {
      await using fixture = await start({ retryForMs: 50, heartbeatMs: 20 });
      addEvent(fixture.script, "another");
      const following = send(fixture.socketPath, "GET", "/v0/events?follow=1&type=wanted");
      await waitFor("the follow", () => fixture.script.pages > 1);
      await fixture.events[Symbol.asyncDispose]();
      const all = values((await following).text);
      expect(all[0]).toEqual({ type: "heartbeat", after: 1 });
      expect(all.at(-1)).toMatchObject({ type: "error", problem: { status: 503 } });
    });
  });

  it("has a process of its own that ends on SIGTERM", async () => {
    const socketPath = join(folder.path, "main.sock");
    const child = spawn(process.execPath, [join(import.meta.dirname, "../src/main.ts")], {
      env: {
        AETHER_NATS_URL: nats.url,
        AETHER_GATEWAY_SEED_FILE: seedFile(nats.keysDir, "gateway"),
        AETHER_GATEWAY_SOCKET: socketPath,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      const answer = await waitFor("the gateway to serve", () =>
        send(socketPath, "GET", "/v0/version").catch(() => null),
      );
      expect(answer.status).toBe(200);
    } finally {
      child.kill("SIGTERM");
    }
    expect(await ended).toBe(0);
    expect(statSync(socketPath, { throwIfNoEntry: false })).toBeUndefined();
  });
});
