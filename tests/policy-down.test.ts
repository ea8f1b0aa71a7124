// Without policy, or without a place to record what it decides, nothing that is decided happens, and what runs goes on under
// its own limits. Over HTTP every refusal is 503 and says when to try again.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { streamState } from "@aether/bus";
import { createUnixTransport } from "@aether/client";
import { createId, type DecideReply, examples, formatQuery, operations, Problem } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { jobFaults, openWitness, type Witness } from "./_checker.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const resources = { cpus: 0.5, memory: "64MiB" };
const ticking = [
  "sh",
  "-c",
  `n=0; while :; do n=$((n+1)); read up rest < /proc/uptime; echo "l $AETHER_ATTEMPT $n $up"; sleep 0.1; done`,
];

/** Everything that a person can ask and policy decides, as the documents show it, about things that are there. */
function decided(
  things: readonly string[],
): { name: string; method: string; path: string; type: string; body?: string }[] {
  return operations.flatMap(({ name, http, access }) => {
    const example = examples[name];
    if (!http || !("action" in access) || !example) return [];
    const isThere = (one: string, shown: string) => one === shown || /^[a-z]{3}_/.exec(one)?.[0] === shown.slice(0, 4);
    const params = new Map(
      Object.entries(example.params ?? {}).map(([key, shown]) => [key, things.find((one) => isThere(one, shown))]),
    );
    if ([...params.values()].includes(undefined)) return [];
    const path = `/v0${http.path.replaceAll(/\{(\w+)\}/g, (_, key: string) => params.get(key) ?? "")}`;
    const body = example.content ?? (example.body && JSON.stringify(example.body));
    return {
      ...{ name, method: http.method, path: path + formatQuery(example.query ?? {}) },
      type: example.content ? "text/plain" : "application/json",
      ...(body !== undefined && { body }),
    };
  });
}

interface Answer {
  name: string;
  status: number;
  slug: string | undefined;
  retryAfter: number;
}

async function askAll(aether: Aether, ids: readonly string[], only = (_name: string) => true): Promise<Answer[]> {
  using transport = createUnixTransport(aether.socket);
  const asked = decided(ids).filter(({ name }) => only(name));
  return await Promise.all(
    asked.map(async ({ name, type, ...request }) => {
      const headers = { "Content-Type": type };
      const response = await transport.request({ ...request, headers });
      const body = await buffer(response.body);
      const { status } = response;
      const slug = status < 400 ? "" : Problem.parse(JSON.parse(body.toString())).type.split(":").at(-1);
      return { name, status, slug, retryAfter: Number(response.header("retry-after")) };
    }),
  );
}

function expectRefused(answers: Answer[]): void {
  expect(answers.length).toBeGreaterThan(0);
  for (const answer of answers) {
    expect(answer, answer.name).toMatchObject({ status: 503, slug: expect.stringMatching(/unavailable$/) });
    expect(answer.retryAfter, answer.name).toBeGreaterThan(0);
  }
}

describe.skipIf(missing)(`policy down${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let witness: Witness;
  let ticker: string;
  let waiting: string;
  let things: string[];
  beforeAll(async () => {
    aether = await startAether();
    witness = await openWitness(aether);
    ticker = (await aether.client.jobs.submit({ command: ticking, resources })).id;
    await waitFor("the ticker to run", () => witness.job(ticker)?.state === "running");
    waiting = (await aether.client.jobs.submit({ command: ["true"], resources: { cpus: 8, memory: "64MiB" } })).id;
    const artifact = await aether.client.artifacts.put(Readable.from([Buffer.from("42")]), { name: "answer" });
    const entry = await aether.client.memory.add({ kind: "note", text: "The answer is 42." });
    await aether.client.secrets.set("db-password", Buffer.from("correct horse"));
    await aether.client.agents.add({ name: "scout" });
    const [record] = (await aether.client.audit.list({ limit: 1 })).items;
    things = [ticker, artifact.id, entry.id, "db-password", "scout", record?.id ?? ""];
  }, 60_000);
  afterAll(async () => {
    await witness[Symbol.asyncDispose]();
    await aether[Symbol.asyncDispose]();
  });

  /** Nothing new exists, nothing that waited has started, nothing that ran was touched. */
  const expectNothingDone = (known: string[]) => {
    expect(witness.ids()).toEqual(known);
    expect(witness.job(waiting)?.state).toBe("queued");
    expect(witness.job(ticker)?.state).toBe("running");
    expect(witness.faults).toEqual([]);
  };

  it("everything that is decided is 503, while logs, leases and timeouts go on", async () => {
    const timed = await aether.client.jobs.submit({ command: ticking, resources, timeout: "3s", grace: "0s" });
    await waitFor("it to run", () => witness.job(timed.id)?.state === "running");
    await aether.programs.policy.kill();
    const known = witness.ids();
    expectRefused(await askAll(aether, things));
    expectNothingDone(known);
    await using jobs = await aether.connect("jobs");
    const { lastSequence } = await streamState(jobs, "LOGS");
    await waitFor("its timeout", () => witness.job(timed.id)?.state === "timed_out");
    expect((await streamState(jobs, "LOGS")).lastSequence).toBeGreaterThan(lastSequence + 5);
    expectNothingDone(known);
  });

  it("an answer that is malformed is none", async () => {
    const known = witness.ids();
    await using impostor = await aether.connect("policy");
    const decision_id = createId("aud");
    const whole = { ...allow, decision_id };
    const answers = ["", "{}", "not json", '{"outcome":"allow"}', JSON.stringify({ ...whole, outcome: "yes" })];
    for (const answer of [...answers, JSON.stringify({ ...whole, decision_id: "1" }), JSON.stringify([whole])]) {
      const serving = impostor.nats.subscribe("aether.v0.*.policy.decide", {
        queue: "policy",
        callback: (_error, message) => void message.respond(answer),
      });
      await impostor.nats.flush();
      expectRefused(await askAll(aether, [ticker], (name) => name.startsWith("jobs.")));
      serving.unsubscribe();
    }
    expectNothingDone(known);
  });

  it("an answer that comes too late is none, even when it is yes", async () => {
    const known = witness.ids();
    await using impostor = await aether.connect("policy");
    let late = 0;
    impostor.nats.subscribe("aether.v0.*.policy.decide", {
      queue: "policy",
      callback: (_error, message) => void setTimeout(() => message.respond(JSON.stringify(allow)) && late++, 2_500),
    });
    await impostor.nats.flush();
    const answers = await askAll(aether, [ticker], (name) => name.startsWith("jobs."));
    expectRefused(answers);
    await waitFor("every late yes", () => late >= answers.length);
    expectNothingDone(known);
  });

  it("goes on where it stood when policy is back: nothing was lost, what waited runs", async () => {
    aether.programs.policy.start();
    await aether.ready();
    await aether.client.jobs.kill(ticker);
    await waitFor("the ticker's end", () => witness.job(ticker)?.state === "killed");
    expect(witness.job(ticker)?.attempts).toHaveLength(1);
    expect(await jobFaults(aether, witness, ticker)).toEqual([]);
    await waitFor("what waited to run", () => witness.job(waiting)?.state === "succeeded");
    expect(await aether.client.audit.verify()).toMatchObject({ state: "intact" });
  });

  it("the warden still ends what a frozen worker ran", async () => {
    const { id } = await aether.client.jobs.submit({ command: ticking, resources });
    await waitFor("it to run", () => witness.executing().includes(`${id}-1`));
    await aether.programs.policy.kill();
    aether.programs.worker.freeze();
    await waitFor("its tree to be ended", () => witness.executing().length === 0, 12_000);
    aether.programs.worker.thaw();
    await waitFor("the worker to find out", () => witness.job(id)?.state === "lost");
    expect(witness.job(id)).toMatchObject({ reason: "lease_expired" });
    expect(witness.faults).toEqual([]);
  }, 40_000);
});

describe.skipIf(missing)(`audit failing${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let witness: Witness;
  beforeAll(async () => {
    aether = await startAether({ storeBytes: 8 * 1024 * 1024 });
    witness = await openWitness(aether);
  }, 60_000);
  afterAll(async () => {
    await witness[Symbol.asyncDispose]();
    await aether[Symbol.asyncDispose]();
  });

  it("full: submits are 503, stop and kill still work by its reserve, and sealing makes room again (attack 8)", async () => {
    const { client } = aether;
    const [stopped, killed] = await Promise.all([0, 1].map(() => client.jobs.submit({ command: ticking, resources })));
    if (!stopped || !killed) throw new Error("not accepted");
    for (const { id } of [stopped, killed]) await waitFor("both to run", () => witness.job(id)?.state === "running");
    // What is in the way of a segment is in the way of sealing.
    const obstacle = join(aether.home, "policy", "audit", "segments", "drafts");
    rmSync(obstacle, { recursive: true, force: true });
    writeFileSync(obstacle, "");
    const isRefused = () =>
      client.policy.check({ action: "submit_job" }).then(
        () => false,
        () => true,
      );
    const fill = async () => {
      while (!(await isRefused()));
    };
    await Promise.all(Array.from({ length: 64 }, fill));
    const askSome = () => askAll(aether, [stopped.id], (name) => name === "jobs.submit" || name === "policy.check");
    // What is left may still be room for a small record.
    const refused = await waitFor("no room to be left", async () => {
      const answers = await askSome();
      return answers.every(({ status }) => status >= 400) && answers;
    });
    expectRefused(refused);
    const known = witness.ids();
    expectRefused(await askSome());
    expect(witness.ids()).toEqual(known);
    expect((await client.health()).services.find(({ name }) => name === "policy")?.degraded).not.toEqual([]);

    expect(await client.jobs.stop(stopped.id)).toMatchObject({ state: "stopping" });
    expect(await client.jobs.kill(killed.id)).toMatchObject({ state: "stopping" });
    await waitFor(
      "both to have ended",
      () => [stopped, killed].map(({ id }) => witness.job(id)?.state).join() === "stopped,killed",
    );

    rmSync(obstacle);
    const again = await waitFor("submits to go on", () => client.jobs.submit({ command: ["true"], resources }), 20_000);
    await waitFor("it to have run", () => witness.job(again.id)?.state === "succeeded");
    const actions = await waitFor("what was done meanwhile to be on record", async () => {
      const { items } = await client.audit.list({ job_id: stopped.id });
      const names = items.map(({ action }) => action);
      return names.includes("job.stopped") && names;
    });
    expect(actions).toContain("stop_job");
    expect(await client.audit.verify()).toMatchObject({ state: "intact", faults: [] });
  }, 90_000);

  it("when somebody else wrote the audit log nothing more is decided", async () => {
    await using foreign = await aether.connect("policy-audit");
    await foreign.js.publish("aether.audit.v0", '{"not":"a record"}');
    const known = witness.ids();
    const refused = await waitFor("the policy service to notice", async () => {
      const answers = await askAll(aether, known, (name) => /^jobs\.(submit|get|list|logs|stop|kill)$/.test(name));
      return answers.every(({ status }) => status === 503) && answers;
    });
    expectRefused(refused);
    expect(witness.ids()).toEqual(known);
  });
});

const allow: DecideReply = {
  outcome: "allow",
  decision_id: null,
  reason: "",
  policies: [],
  policy_version: "v",
  approval_id: null,
  visible: true,
  scope: "all",
};
