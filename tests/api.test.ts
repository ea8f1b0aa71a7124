// The HTTP API from curl alone: every route as docs/api shows it, and then what the routes promise beyond one answer. Each
// answer is held against the one in the documents, so that the two cannot drift apart.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Approval,
  createId,
  type Job,
  type listAudit,
  Metrics,
  operations,
  type Problem,
  type Reply,
  type searchMemory,
  systemRoutes,
  WhoAmI,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, readDocumented, readDocumentedProblem, shapeOf, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
/** A group that every Linux has: here its users are the members. */
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const stranger = { uid: 41_003, gid: 41_003 };
const small = { resources: { cpus: 0.5, memory: "64MiB" } };
/** What is kept is deleted only when somebody else agrees. */
const keepPolicy = `@id("keep-asks") @reason("what is kept is deleted only when a person agrees") @ask("Delete what is kept?")
  forbid (principal, action == Aether::Action::"delete_artifact", resource) when { resource.hasTag("keep") }
  unless { context has approval };`;
const forever = ["sh", "-c", "echo ready; exec sleep 600"];

const routes = [
  ...operations.flatMap(({ http }) => (http ? [`${http.method} /v0${http.path}`] : [])),
  ...systemRoutes.map(({ method, path }) => `${method} /v0${path}`),
];

describe.skipIf(missing)(`the API from curl${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  let policies: ReturnType<typeof tempDir>;

  beforeAll(async () => {
    policies = tempDir();
    writeFileSync(join(policies.path, "keep.cedar"), keepPolicy);
    aether = await startAether({
      environment: {
        gateway: { AETHER_GATEWAY_GROUP: memberGroup.name },
        policy: { AETHER_POLICY_OWN_POLICIES_DIR: policies.path },
      },
    });
    curl = createCurl(aether.socket);
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    policies[Symbol.dispose]();
  });

  /** Submits and waits for the end. */
  async function finished(spec: object, as: Curl = curl): Promise<Job> {
    const answer = await as.post("/v0/jobs?wait=30s", { ...small, ...spec });
    expect(answer.status).toBe(201);
    return toJob(answer);
  }

  /** A job that has said `ready` and stays until it is ended. */
  async function running(spec: object = {}, as: Curl = curl): Promise<Job> {
    const job = toJob(await as.post("/v0/jobs", { command: forever, ...small, ...spec }));
    await waitFor("the job to be ready", async () =>
      (await as.get(`/v0/jobs/${job.id}/logs`)).body.includes('"data":"ready"'),
    );
    return job;
  }

  const ended = async (id: string) => toJob(await curl.get(`/v0/jobs/${id}?wait=30s`));

  describe("as docs/api shows it", () => {
    const documented = readDocumented();
    const named = { name: "answer", labels: { team: "docs" } };
    const done = async () => (await finished({ ...named, command: ["sh", "-c", "echo $((6*7))"] })).id;
    const stored = async () => {
      const args = ["-X", "PUT", "--data-binary", "42"];
      const answer = await curl.run(
        ...args,
        urlOf("/v0/artifacts/content?name=answer.txt&type=text/plain&label=team%3Ddocs"),
      );
      return (JSON.parse(answer.body) as { id: string }).id;
    };
    const live = async () => (await running(named)).id;

    let notes = 0;
    const remembered = async () => {
      const text = `The backup disk ${++notes} is in the cupboard by the window.`;
      const more = { author: "Ada", thread: "standup", labels: { team: "docs" } };
      await curl.post("/v0/memory/entries", { kind: "note", text: `${text} It is an old one.`, ...more });
      const { id } = JSON.parse((await curl.post("/v0/memory/entries", { kind: "note", text, ...more })).body) as {
        id: string;
      };
      return id;
    };

    /** The agent that the documents name; there already where it is asked for again. */
    const scout = async () => {
      await curl.post("/v0/agents", { name: "scout", limits: { cpus: 1, memory: "512MiB" } });
      return null;
    };

    let kept = 0;
    /** The wish to delete what is kept, which waits for an answer. */
    const asked = async (as = ada) => {
      const content = urlOf(`/v0/artifacts/content?name=kept${++kept}.txt&type=text/plain&label=keep%3Dyes`);
      const made = await curl.as(as).run("-X", "PUT", "--data-binary", "42", content);
      const { id } = JSON.parse(made.body) as { id: string };
      const refused = await curl.as(as).run("-X", "DELETE", urlOf(`/v0/artifacts/${id}`));
      expect([refused.status, problemOf(refused).decision?.outcome]).toEqual([403, "ask"]);
      return problemOf(refused).approval_id ?? "";
    };
    const digestOf = async (approval: string) =>
      (JSON.parse((await curl.get(`/v0/approvals/${approval}`)).body) as { digest: string }).digest;
    const answered = async (option: string, as = ada) => {
      const id = await asked(as);
      const answer = {
        option,
        digest: await digestOf(id),
        ...(option === "allow_once" && { comment: "it is there twice" }),
      };
      expect((await curl.post(`/v0/approvals/${id}/answer`, answer)).status).toBe(200);
      return id;
    };
    /** By somebody else each time: who has a grant is not asked again. */
    const granted = async () => {
      const approval = await answered("allow_always", { uid: 42_000 + kept, gid: memberGroup.gid });
      return (JSON.parse((await curl.get(`/v0/approvals/${approval}`)).body) as { grant_id: string }).grant_id;
    };

    const token = async () => {
      const body = { capabilities: [{ actions: ["read_job", "read_logs"], id: createId("job") }], ttl: "5m" };
      return (JSON.parse((await curl.post("/v0/tokens", body)).body) as { id: string }).id;
    };

    /** What each route needs to answer as shown, and the id that takes the place of the one in the documents. */
    const given: Record<string, () => Promise<string | null>> = {
      "POST /v0/jobs": async () => null,
      "GET /v0/jobs/{id}": done,
      "GET /v0/jobs": async () => {
        await done();
        return done();
      },
      "GET /v0/jobs/{id}/logs": done,
      "POST /v0/jobs/{id}/stop": live,
      "POST /v0/jobs/{id}/kill": live,
      "POST /v0/artifacts": async () => null,
      "PUT /v0/artifacts/content": async () => null,
      "GET /v0/artifacts/{id}": stored,
      "GET /v0/artifacts/{id}/content": stored,
      "GET /v0/artifacts": async () => {
        await stored();
        return stored();
      },
      "DELETE /v0/artifacts/{id}": stored,
      "POST /v0/policy/check": async () => null,
      "POST /v0/memory/entries": async () => null,
      "GET /v0/memory/entries": remembered,
      "GET /v0/memory/entries/{id}": remembered,
      "GET /v0/memory/search": remembered,
      "DELETE /v0/memory/entries/{id}": remembered,
      "GET /v0/policy": async () => null,
      "POST /v0/tokens": async () => null,
      "GET /v0/tokens": async () => {
        await token();
        return token();
      },
      "GET /v0/tokens/{id}": token,
      "DELETE /v0/tokens/{id}": token,
      "GET /v0/approvals": async () => {
        await asked();
        await asked();
        return null;
      },
      "GET /v0/approvals/{id}": () => asked(),
      "POST /v0/approvals/{id}/answer": () => asked(),
      "DELETE /v0/approvals/{id}": () => answered("allow_once"),
      "PUT /v0/approvals/secret": async () => null,
      "GET /v0/grants": async () => {
        await granted();
        await granted();
        return null;
      },
      "DELETE /v0/grants/{id}": granted,
      "GET /v0/audit": done,
      "POST /v0/audit/verify": async () => null,
      "POST /v0/events": async () => null,
      "GET /v0/events": done,
      "POST /v0/agents": async () => null,
      "GET /v0/agents/{name}": scout,
      "GET /v0/agents": async () => {
        await curl.post("/v0/agents", { name: "tender" });
        return scout();
      },
      "DELETE /v0/agents/{name}": scout,
      "GET /v0/whoami": async () => null,
      "GET /v0/health": async () => null,
      "GET /v0/metrics": async () => null,
      "GET /v0/version": async () => null,
      "GET /v0/openapi.json": async () => null,
    };
    /** Answers that are not 200. */
    const statuses: Record<string, number> = {
      "POST /v0/jobs": 201,
      "POST /v0/artifacts": 201,
      "PUT /v0/artifacts/content": 201,
      "POST /v0/memory/entries": 201,
      "POST /v0/agents": 201,
      "POST /v0/tokens": 201,
      "POST /v0/jobs/{id}/stop": 202,
      "POST /v0/jobs/{id}/kill": 202,
    };

    it("every route has a command and a case here", () => {
      expect([...documented.keys()].sort()).toEqual([...routes].sort());
      expect(Object.keys(given).sort()).toEqual([...routes].sort());
    });

    it.each(routes)("%s", async (route) => {
      const { args, reply } = documented.get(route) ?? { args: [], reply: null };
      const id = await given[route]?.();
      const digest = id?.startsWith("apr_") ? await digestOf(id) : "";
      const real = await curl.run(
        ...args.map((word) =>
          (id ? word.replaceAll(/(job|art|mem|apr|grt|tok)_[0-9a-z]{26}/g, id) : word).replaceAll(
            /sha256:[0-9a-f]{64}/g,
            digest,
          ),
        ),
      );
      expect(real.status).toBe(statuses[route] ?? 200);
      expect(real.headers.get("aether-request-id")).toMatch(/^req_[0-9a-z]{26}$/);
      if (reply === null) return expect(JSON.parse(real.body)).toEqual(readOpenApi());
      if (typeof reply === "string") return expect(real.body).toBe(reply);
      const isStream = Array.isArray(reply);
      expect(real.headers.get("content-type")).toMatch(isStream ? "application/x-ndjson" : /^application\/json\b/);
      if (route === "GET /v0/metrics") return expect(Metrics.parse(JSON.parse(real.body)).missing).toEqual([]);
      if (route === "GET /v0/whoami") return expect(WhoAmI.parse(JSON.parse(real.body)).name).toBe("user:0");
      expect(shapeOf(isStream ? toLines(real) : JSON.parse(real.body))).toEqual(shapeOf(reply));
    });

    it("what a person has agreed to is done once", async () => {
      const approval = await asked();
      const { resource, digest } = JSON.parse((await curl.get(`/v0/approvals/${approval}`)).body) as Approval;
      const remove = () => curl.as(ada).run("-X", "DELETE", urlOf(`/v0/artifacts/${resource.id}`));
      expect(problemOf(await remove()).approval_id).toBe(approval);
      const own = await curl.as(ada).post(`/v0/approvals/${approval}/answer`, { option: "allow_once", digest });
      expect([own.status, problemOf(own).detail]).toEqual([403, expect.stringMatching(/secret/)]);
      expect((await curl.as(ben).get(`/v0/approvals/${approval}`)).status).toBe(404);
      await curl.post(`/v0/approvals/${approval}/answer`, { option: "allow_once", digest });
      expect((await remove()).status).toBe(200);
      expect((await remove()).status).toBe(404);
      const used = JSON.parse((await curl.get(`/v0/approvals/${approval}`)).body) as Approval;
      expect([used.state, used.uses.length]).toEqual(["used", 1]);
      const records = JSON.parse((await curl.get("/v0/audit?action=delete_artifact&limit=10")).body) as Reply<
        typeof listAudit
      >;
      const about = records.items.filter(({ decision }) => decision?.approval === approval);
      expect(about.map(({ decision }) => decision?.outcome)).toEqual(expect.arrayContaining(["allow", "ask"]));
    });

    it("a refusal", async () => {
      const real = await curl.post("/v0/jobs", { command: ["true"], resources: { pids: 0 } });
      expect(real.headers.get("content-type")).toBe("application/problem+json");
      const example = readDocumentedProblem() as object;
      expect(JSON.parse(real.body)).toEqual({
        ...example,
        instance: expect.stringMatching(/^urn:aether:request:req_/),
      });
    });
  });

  describe("jobs", () => {
    it("are accepted at once, and waited for", async () => {
      const command = ["sh", "-c", "echo $((6*7))"];
      const accepted = await curl.post("/v0/jobs", { command });
      const { id, state, ...rest } = toJob(accepted);
      expect(accepted.status).toBe(201);
      expect(accepted.headers.get("location")).toBe(`/v0/jobs/${id}`);
      expect(["queued", "starting", "running", "succeeded"]).toContain(state);
      expect(rest).toMatchObject({ job_id: id, owner: "user:0", spec: { command, timeout: "1h", pool: "default" } });

      const waited = await curl.get(`/v0/jobs/${id}?wait=30s`);
      expect(waited.status).toBe(200);
      expect(toJob(waited)).toMatchObject({ state: "succeeded", exit_code: 0, logs: { last_seq: 1, bytes: 3 } });
      expect(toLines(await curl.get(`/v0/jobs/${id}/logs`))).toMatchObject([{ seq: 1, stream: "stdout", data: "42" }]);
    });

    it("answer a wait when its time is up", async () => {
      const accepted = await curl.post("/v0/jobs?wait=100ms", { command: forever, ...small });
      expect(accepted.status).toBe(201);
      expect(toJob(accepted).ended_at).toBeNull();
      expect(toJob(await curl.get(`/v0/jobs/${toJob(accepted).id}?wait=100ms`)).ended_at).toBeNull();
      await curl.run("-X", "POST", `http://aether/v0/jobs/${toJob(accepted).id}/kill`);
    });

    it("are listed newest first, by page and by filter", async () => {
      const intent_id = createId("int");
      const made: string[] = [];
      for (const command of [["true"], ["false"], ["true"]]) {
        made.unshift((await finished({ command, labels: { list: "a=b" }, intent_id })).id);
      }
      const list = async (query: string) => {
        const answer = await curl.get(`/v0/jobs?${query}`);
        expect(answer.status).toBe(200);
        return JSON.parse(answer.body) as { items: Job[]; next_cursor: string | null };
      };
      const ids = async (query: string) => (await list(query)).items.map(({ id }) => id);
      const newest = (await ended(made[0] ?? "")).revision;
      expect(await ids(`label=list%3Da%3Db&min_revision=${newest}`)).toEqual(made);
      expect(await ids(`intent_id=${intent_id}`)).toEqual(made);
      expect(await ids("label=list%3Da%3Db&state=failed")).toEqual([made[1]]);
      expect(await ids("label=list%3Da%3Db&state=failed&state=succeeded")).toEqual(made);
      expect(await ids("label=list%3Da%3Db&pool=elsewhere")).toEqual([]);
      const pages: string[] = [];
      for (let cursor: string | null = ""; cursor !== null; ) {
        const page: Awaited<ReturnType<typeof list>> = await list(
          `label=list%3Da%3Db&limit=2${cursor && `&cursor=${cursor}`}`,
        );
        pages.push(...page.items.map(({ id }) => id));
        cursor = page.next_cursor;
      }
      expect(pages).toEqual(made);
    });

    it("are stopped in grace, and by force after it", async () => {
      const polite = await running({ command: trap("echo bye; exit 7") });
      const stop = await curl.post(`/v0/jobs/${polite.id}/stop`, { grace: "20s" });
      expect([stop.status, toJob(stop).state]).toEqual([202, "stopping"]);
      expect(await ended(polite.id)).toMatchObject({
        state: "stopped",
        reason: "requested",
        exit_code: 7,
        signal: null,
      });
      expect((await curl.get(`/v0/jobs/${polite.id}/logs?format=raw`)).body).toBe("ready\nbye\n");

      const stubborn = await running({ command: trap("") });
      await curl.post(`/v0/jobs/${stubborn.id}/stop`, { grace: "50ms" });
      expect(await ended(stubborn.id)).toMatchObject({ state: "stopped", exit_code: null, signal: "SIGKILL" });
    });

    it("are killed at once, also while they are being stopped", async () => {
      const job = await running({ command: trap("") });
      await curl.post(`/v0/jobs/${job.id}/stop`, { grace: "10m" });
      expect((await curl.run("-X", "POST", `http://aether/v0/jobs/${job.id}/kill`)).status).toBe(202);
      expect(await ended(job.id)).toMatchObject({ state: "killed", reason: "requested", signal: "SIGKILL" });
    });

    it("that have ended stay as they are when stopped or killed", async () => {
      const job = await finished({ command: ["true"] });
      for (const how of ["stop", "kill"]) {
        const answer = await curl.post(`/v0/jobs/${job.id}/${how}`, {});
        expect([answer.status, toJob(answer)]).toEqual([200, job]);
      }
    });

    it("that never started end at once", async () => {
      for (const [how, state] of Object.entries({ stop: "stopped", kill: "killed" })) {
        const { id } = toJob(await curl.post("/v0/jobs", { command: ["true"], pool: "elsewhere" }));
        const answer = await curl.post(`/v0/jobs/${id}/${how}`, {});
        expect([answer.status, toJob(answer).state, toJob(answer).attempts]).toEqual([200, state, []]);
      }
    });

    it("end as timed_out when their time is up", async () => {
      const job = await finished({ command: forever, timeout: "200ms" });
      expect(job).toMatchObject({ state: "timed_out", reason: "timeout" });
      const raw = await curl.get(`/v0/jobs/${job.id}/logs?format=raw`);
      expect(raw.trailers).toEqual({ "aether-exit-code": "124" });
    });

    it("run again as retry says, under one log", async () => {
      const backoff = { initial: "10ms", jitter: 0 };
      const job = await finished({
        command: ["sh", "-c", "echo $AETHER_ATTEMPT; exit 5"],
        retry: { max_attempts: 2, backoff, on: ["exit"] },
      });
      expect(job).toMatchObject({ state: "failed", attempt: 2, max_attempts: 2, attempts: [{ exit_code: 5 }, {}] });
      const frames = toLines(await curl.get(`/v0/jobs/${job.id}/logs`));
      expect(frames).toMatchObject([
        { seq: 1, attempt: 1, data: "1" },
        { seq: 2, attempt: 2, data: "2" },
      ]);
      const second = job.attempts[1]?.started_at ?? "";
      expect(await seqs(`/v0/jobs/${job.id}/logs?since=${second}`)).toEqual([2]);
    });

    it("are made once for one Idempotency-Key", async () => {
      const key = ["-H", `Idempotency-Key: ${createId("req")}`];
      const spec = { command: ["true"], ...small };
      const first = await curl.post("/v0/jobs", spec, ...key);
      const again = await curl.post("/v0/jobs", spec, ...key);
      expect([again.status, again.body, again.headers.get("location")]).toEqual([
        201,
        first.body,
        first.headers.get("location"),
      ]);
      const other = await curl.post("/v0/jobs", { ...spec, priority: 1 }, ...key);
      expect([other.status, problemOf(other).type]).toEqual([409, "urn:aether:problem:idempotency-conflict"]);
      // The key is its user's own.
      const adas = await curl.as(ada).post("/v0/jobs", { ...spec, priority: 1 }, ...key);
      expect([adas.status, toJob(adas).id === toJob(first).id]).toEqual([201, false]);
    });

    it("belong to the intent that the header names, and take a traceparent", async () => {
      const intent = createId("int");
      const traceparent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
      const headers = ["-H", `Aether-Intent-Id: ${intent}`, "-H", traceparent];
      const answer = await curl.post("/v0/jobs", { command: ["true"], ...small }, ...headers);
      expect([answer.status, toJob(answer).intent_id]).toEqual([201, intent]);
      const records = JSON.parse((await curl.get(`/v0/audit?intent_id=${intent}&action=submit_job`)).body).items;
      expect(records).toMatchObject([{ intent_id: intent, job_id: toJob(answer).id }]);
      const [event] = toLines(await curl.get(`/v0/events?intent_id=${intent}&limit=1`));
      expect(event).toMatchObject({ type: "dev.aether.job.submitted.v1", intentid: intent, jobid: toJob(answer).id });
    });
  });

  describe("logs", () => {
    let log: string;
    let all: object[];
    beforeAll(async () => {
      const script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no newline'; exit 3";
      const { id } = await finished({ command: ["sh", "-c", script] });
      log = `/v0/jobs/${id}/logs`;
      all = toLines(await curl.get(log));
    });

    it("are frames that count both streams from 1", () => {
      expect(all).toMatchObject(Array.from({ length: 7 }, (_, i) => ({ seq: i + 1, attempt: 1 })));
      expect(all.filter((frame) => "stream" in frame && frame.stream === "stderr")).toHaveLength(3);
      expect(all).toContainEqual(expect.objectContaining({ data: "no newline", partial: true }));
    });

    it("begin after a seq, with the last ones, at a time, and hold one stream", async () => {
      expect(await seqs(`${log}?after=4`)).toEqual([5, 6, 7]);
      expect(await seqs(`${log}?tail=2`)).toEqual([6, 7]);
      expect(await seqs(`${log}?tail=0`)).toEqual([]);
      expect(await seqs(`${log}?since=1h`)).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(await seqs(`${log}?since=2100-01-01T00:00:00Z`)).toEqual([]);
      const errors = all.filter((frame) => "stream" in frame && frame.stream === "stderr");
      expect(toLines(await curl.get(`${log}?stream=stderr`))).toEqual(errors);
    });

    it("end with eof when followed", async () => {
      const frames = toLines(await curl.get(`${log}?follow=1&after=6`));
      const eof = { type: "eof", last_seq: 7, state: "failed", reason: "exit_nonzero", exit_code: 3, signal: null };
      expect(frames).toEqual([all[6], eof]);
    });

    it("are bytes alone when raw, with the exit code behind them", async () => {
      const { body, headers, trailers } = await curl.get(`${log}?format=raw&stream=stdout`);
      expect(body).toBe("out 1\nout 2\nout 3\nno newline");
      expect(headers.get("content-type")).toBe("application/octet-stream");
      expect(trailers).toEqual({ "aether-exit-code": "3" });
    });

    it("are server-sent events with seq as id, and go on after the last one seen", async () => {
      const resumed = ["-H", "Accept: text/event-stream", "-H", "Last-Event-ID: 5"];
      const { body, headers } = await curl.get(`${log}?follow=1`, ...resumed);
      expect(headers.get("content-type")).toBe("text/event-stream");
      const events = body.trimEnd().split("\n\n");
      expect(events.slice(0, -1)).toEqual(all.slice(5).map((f, i) => `id: ${6 + i}\ndata: ${JSON.stringify(f)}`));
      expect(events.at(-1)).toMatch(/^data: \{"type":"eof","last_seq":7,/);
      expect((await curl.get(`${log}?format=sse&after=6`)).body).toBe(`id: 7\ndata: ${JSON.stringify(all[6])}\n\n`);
    });

    it("arrive while the job runs", async () => {
      const job = await running();
      const follow = curl.start("-N", `http://aether/v0/jobs/${job.id}/logs?follow=1`);
      await waitFor("the first line", () => follow.output().includes('"data":"ready"'));
      expect(follow.process.exitCode).toBeNull();
      await curl.post(`/v0/jobs/${job.id}/kill`, {});
      const frames = toLines(await follow.answer).filter((frame) => !("type" in frame && frame.type === "heartbeat"));
      expect(frames).toMatchObject([{ seq: 1 }, { type: "eof", last_seq: 1, state: "killed", signal: "SIGKILL" }]);
    });
  });

  describe("memory", () => {
    const url = (path: string) => `http://aether/v0/memory/${path}`;
    const add = async (entry: object, as: Curl = curl): Promise<string> => {
      const made = await as.post("/v0/memory/entries", entry);
      const { id } = JSON.parse(made.body) as { id: string };
      expect([made.status, made.headers.get("location")]).toEqual([201, `/v0/memory/entries/${id}`]);
      return id;
    };
    const search = async (query: string, as: Curl = curl) =>
      (JSON.parse((await as.get(`/v0/memory/search?${query}`)).body) as Reply<typeof searchMemory>).results;

    it("is its owner's: others find nothing, operators read it and do not forget it", async () => {
      const id = await add({ kind: "note", text: "The zanzibar ledger is under the stairs." }, curl.as(ada));
      const status = async (as: Curl, ...args: string[]) => (await as.run(...args, url(`entries/${id}`))).status;
      expect((await search("q=zanzibar", curl.as(ada))).map((hit) => hit.id)).toEqual([id]);
      expect(await search("q=zanzibar", curl.as(ben))).toEqual([]);
      expect((await curl.as(ben).get("/v0/memory/search?q=zanzibar&owner=user:41001")).status).toBe(404);
      expect(await status(curl.as(ben))).toBe(404);
      expect(await status(curl.as(ben), "-X", "DELETE")).toBe(404);
      expect(
        (await curl.as(ben).post("/v0/memory/entries", { kind: "note", text: "x", derived_from: [id] })).status,
      ).toBe(404);
      expect(await status(curl)).toBe(200);
      expect((await search("q=zanzibar&owner=user:41001")).map((hit) => hit.id)).toEqual([id]);
      expect(await status(curl, "-X", "DELETE")).toBe(403);
      expect(await status(curl.as(ada), "-X", "DELETE")).toBe(200);
      expect(await status(curl.as(ada))).toBe(404);
    });

    it("cites a file as it is at that moment, at its lines", async () => {
      const path = join(aether.home, "guide.md");
      writeFileSync(path, "# Boat\n\nPaint the hull.\n\n## Engine\n\nThe impeller wants grease.\n");
      const id = await add({ kind: "document", path });
      const cited = async () => (await search("q=impeller&k=1"))[0]?.citation;
      const citation = await cited();
      expect(citation).toMatchObject({ state: "fresh", lines: [5, 7], ref: `${path}#L5-L7`, uri: `file://${path}` });
      expect(
        readFileSync(path)
          .subarray(...(citation?.bytes ?? [0, 0]))
          .toString(),
      ).toBe(citation?.quote);
      writeFileSync(path, `\n\n${readFileSync(path, "utf8")}`);
      expect(await cited()).toMatchObject({ state: "moved", lines: [7, 9] });
      writeFileSync(path, "# Boat\n");
      expect(await cited()).toMatchObject({ state: "stale" });
      rmSync(path);
      expect(await cited()).toMatchObject({ state: "missing" });
      const opened = JSON.parse((await curl.get(`/v0/memory/entries/${id}?lines=7`)).body);
      expect(opened).toMatchObject({ text: "The impeller wants grease.", citation: { state: "missing" } });
    });

    it("gives a retry with its key the same entry, and another body nothing", async () => {
      const send = (text: string) =>
        curl.post("/v0/memory/entries", { kind: "note", text }, "-H", "Idempotency-Key: memory-once");
      const first = await send("Only once, with a key.");
      expect(JSON.parse((await send("Only once, with a key.")).body)).toEqual(JSON.parse(first.body));
      expect((await send("Something else.")).status).toBe(409);
    });
  });

  describe("policy", () => {
    const week = 7 * 86_400_000;

    it("denies a timeout over 7 days to everybody, with its reason on record", async () => {
      const denial = { outcome: "deny", policies: ["limit-timeout"], reason: "no job may run longer than 7 days" };
      for (const who of [curl, curl.as(ada)]) {
        const answer = await who.post("/v0/jobs", { command: ["true"], timeout: "8d" });
        const problem = problemOf(answer);
        expect([answer.status, problem.type]).toEqual([403, "urn:aether:problem:policy-denied"]);
        expect(problem.decision).toEqual({ id: expect.stringMatching(/^aud_/), ...denial });
        expect(answer.headers.has("location")).toBe(false);
        const records = JSON.parse((await curl.get("/v0/audit?decision=deny&limit=1")).body).items;
        expect(records).toMatchObject([{ id: problem.decision?.id, action: "submit_job", decision: denial }]);
      }
    });

    it("says beforehand what it would decide", async () => {
      const check = async (context: object) =>
        JSON.parse((await curl.post("/v0/policy/check", { action: "submit_job", context })).body);
      expect(await check({ timeout_ms: week })).toMatchObject({ decision: "allow", policies: ["own-jobs"] });
      expect(await check({ timeout_ms: week + 1 })).toMatchObject({ decision: "deny", policies: ["limit-timeout"] });
    });

    it("keeps records by filter and by page, in a chain that verifies", async () => {
      const job = await finished({ command: ["true"] });
      const list = async (query: string) => JSON.parse((await curl.get(`/v0/audit?${query}`)).body);
      const records = await waitFor("the outcome to be on record", async () => {
        const { items } = await list(`job_id=${job.id}`);
        return items[0]?.action === "job.succeeded" && items;
      });
      expect((await list(`job_id=${job.id}&actor=user:0&kind=decision&decision=allow`)).items).toEqual(
        records.filter(({ kind }: { kind: string }) => kind === "decision"),
      );
      const page = await list(`job_id=${job.id}&limit=1`);
      expect(page.items).toEqual(records.slice(0, 1));
      expect((await list(`job_id=${job.id}&cursor=${page.next_cursor}`)).items).toEqual(records.slice(1));
      expect(JSON.parse((await curl.post("/v0/audit/verify", {})).body)).toMatchObject({ state: "intact", faults: [] });
    });
  });

  describe("two users", () => {
    it("see and touch only their own jobs", async () => {
      const [adas, bens] = [await running({}, curl.as(ada)), await finished({ command: ["true"] }, curl.as(ben))];
      expect([adas.owner, bens.owner]).toEqual(["user:41001", "user:41002"]);
      const asBen = curl.as(ben);
      for (const answer of [
        await asBen.get(`/v0/jobs/${adas.id}`),
        await asBen.get(`/v0/jobs/${adas.id}/logs?follow=1`),
        await asBen.post(`/v0/jobs/${adas.id}/stop`, {}),
        await asBen.post(`/v0/jobs/${adas.id}/kill`, {}),
      ]) {
        expect([answer.status, problemOf(answer).type]).toEqual([404, "urn:aether:problem:not-found"]);
      }
      const { items } = JSON.parse((await asBen.get(`/v0/jobs?min_revision=${bens.revision}`)).body);
      expect(items).toMatchObject([{ id: bens.id }]);
      expect((await curl.as(ada).post(`/v0/jobs/${adas.id}/kill`, {})).status).toBe(202);
    });

    it("are seen by the operator, who may not end what is theirs", async () => {
      const adas = await running({}, curl.as(ada));
      expect(toJob(await curl.get(`/v0/jobs/${adas.id}`)).owner).toBe("user:41001");
      const answer = await curl.post(`/v0/jobs/${adas.id}/kill`, {});
      expect([answer.status, problemOf(answer).type]).toEqual([403, "urn:aether:problem:policy-denied"]);
      expect((await curl.as(ada).post(`/v0/jobs/${adas.id}/kill`, {})).status).toBe(202);
    });

    it("see the events about what is theirs, and emit in their own name", async () => {
      const intent = createId("int");
      const named = ["-H", `Aether-Intent-Id: ${intent}`];
      const job = await finished({ command: ["true"], intent_id: intent }, curl.as(ada));
      const event = { specversion: "1.0", id: "1", source: "/system/jobs", type: "com.example.seen" };
      for (const [caller, data] of [
        [ada, "ada"],
        [ben, "ben"],
      ] as const) {
        const answer = await curl.as(caller).post("/v0/events", { ...event, data, jobid: job.id }, ...named);
        expect([answer.status, JSON.parse(answer.body).source]).toEqual([200, `/user/${caller.uid}/system/jobs`]);
      }
      const sources = async (as: Curl) =>
        toLines(await as.get(`/v0/events?intent_id=${intent}&job_id=${job.id}`)).map((one) =>
          Reflect.get(one, "source"),
        );
      const [adas, bens] = [`/user/${ada.uid}/system/jobs`, `/user/${ben.uid}/system/jobs`];
      expect(await sources(curl.as(ada))).toEqual([...Array(4).fill("/system/jobs"), adas]);
      expect(await sources(curl.as(ben))).toEqual([bens]);
      expect(await sources(curl)).toEqual([...Array(4).fill("/system/jobs"), adas, bens]);
    });

    it("are not shown the metrics", async () => {
      const answer = await curl.as(ada).get("/v0/metrics", "-H", "Accept: text/plain");
      expect([answer.status, problemOf(answer).type]).toEqual([403, "urn:aether:problem:policy-denied"]);
    });

    it("are not shown the audit log", async () => {
      for (const answer of [await curl.as(ada).get("/v0/audit"), await curl.as(ada).post("/v0/audit/verify", {})]) {
        expect([answer.status, problemOf(answer).decision?.policies]).toEqual([403, ["audit-for-operators"]]);
      }
    });

    it("cannot be joined by somebody outside the group", async () => {
      await expect(curl.as(stranger).get("/v0/health")).rejects.toThrow("curl ended with 7");
    });
  });

  async function seqs(path: string): Promise<unknown[]> {
    return toLines(await curl.get(path)).map((frame) => Reflect.get(frame, "seq"));
  }
});

/** A shell that is ready, and does this on SIGTERM. */
function trap(action: string): string[] {
  return ["sh", "-c", `trap "${action}" TERM; echo ready; while :; do sleep 0.05; done`];
}

function toJob({ body }: Answer): Job {
  return JSON.parse(body);
}

function problemOf({ headers, body }: Answer): Problem {
  expect(headers.get("content-type")).toBe("application/problem+json");
  return JSON.parse(body);
}

function toLines({ body }: Answer): object[] {
  return body
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

function readOpenApi(): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, "..", "docs", "api", "openapi.json"), "utf8"));
}
