// A person's yes over the real socket, with users who have uids of their own: what is approved is what runs, once, and nothing
// that an asker, another user, a job or a restart can do makes it more. Each case is an attack, or an accident.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "@aether/bus";
import {
  type AnswerKind,
  type Approval,
  createId,
  type Job,
  type JobState,
  limits,
  type Principal,
  type Problem,
  submitJob,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
/** A group that every Linux has: here its users are the members. */
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
/** More than policy lets anybody have without a yes. */
const large = { resources: { cpus: 2, memory: "64MiB" } };

const asking = (unless: string, more = "") => `
@id("large-needs-a-yes")
@reason("more than one CPU needs a person's yes")
@ask("May this use more than one CPU?")${more}
forbid (principal, action == Aether::Action::"start_job", resource)
when { context has cpus_milli && context.cpus_milli > 1000 }
unless { ${unless} };
`;

describe.skipIf(missing)(`a person's yes${missing ? `: ${missing}` : ""}`, () => {
  const policies = tempDir();
  let aether: Aether;
  let root: Curl;
  let adas: Curl;
  let bens: Curl;

  beforeAll(async () => {
    writePolicies(asking("context has approval"));
    aether = await startAether({
      environment: {
        gateway: { AETHER_GATEWAY_GROUP: memberGroup.name },
        policy: { AETHER_POLICY_OWN_POLICIES_DIR: policies.path },
      },
    });
    root = createCurl(aether.socket);
    adas = root.as(ada);
    bens = root.as(ben);
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    policies[Symbol.dispose]();
  });

  function writePolicies(text: string): void {
    mkdirSync(policies.path, { recursive: true });
    writeFileSync(join(policies.path, "own.cedar"), text);
  }

  /** Swaps the owner's policies, and waits until they answer. */
  async function setPolicies(text: string): Promise<void> {
    const loaded = () => aether.log("policy").split('"policies loaded"').length;
    const before = loaded();
    writePolicies(text);
    await waitFor("the policies to be loaded", () => loaded() > before);
  }

  const get = async (id: string, as = root) => parse<Job>(await as.get(`/v0/jobs/${id}`));
  const read = async (id: string | null, as = root) => parse<Approval>(await as.get(`/v0/approvals/${id}`));
  const reach = (id: string, state: JobState) =>
    waitFor(`${id} to be ${state}`, async () => {
      const job = await get(id);
      if (job.state !== state && ["denied", "expired", "failed", "lost"].includes(job.state))
        throw new Error(`it is ${job.state}: ${job.reason} ${job.message}`);
      return job.state === state && job;
    });
  const submit = async (spec: object, as = adas) => parse<Job>(await as.post("/v0/jobs", { ...large, ...spec }));
  const send = (as: Curl, { id, digest }: Pick<Approval, "id" | "digest">, option: AnswerKind, more: object = {}) =>
    as.post(`/v0/approvals/${id}/answer`, { option, digest, ...more });
  const answer = async (approval: Approval, option: AnswerKind) => parse<Approval>(await send(root, approval, option));

  /** A job that waits, and what it waits for. */
  async function asks(spec: object, as = adas): Promise<{ job: Job; approval: Approval }> {
    const job = await submit(spec, as);
    expect(job).toMatchObject({ state: "awaiting_approval", approval_id: expect.stringMatching(/^apr_/) });
    return { job, approval: await read(job.approval_id) };
  }

  it("runs the job that asked, with all that was shown, and names the yes in the audit log", async () => {
    const { job, approval } = await asks({ command: ["echo", "approved"], env: { COLOUR: "blue" } });
    expect(approval).toMatchObject({
      state: "pending",
      requester: { principal: `user:${ada.uid}`, uid: ada.uid },
      ask: "May this use more than one CPU?",
      why: expect.arrayContaining([expect.objectContaining({ policy: "large-needs-a-yes" })]),
      preview: { kind: "job", argv: ["echo", "approved"], env: ["COLOUR"], network: [] },
      default: "reject_once",
    });
    expect(JSON.stringify(approval)).not.toContain("blue");
    await answer(approval, "allow_once");
    await reach(job.id, "succeeded");
    expect(await read(approval.id)).toMatchObject({ state: "used", uses: [{ subject: job.id, attempt: 1 }] });
    const { items } = parse<{ items: { action: string; decision: Record<string, unknown> | null }[] }>(
      await root.get(`/v0/audit?job_id=${job.id}&action=start_job`),
    );
    expect(items.map(({ decision }) => [decision?.outcome, decision?.approval]).reverse()).toEqual([
      ["ask", approval.id],
      ["allow", approval.id],
    ]);
  });

  it("to A is no yes to B: neither by another job, nor by the digest of another question", async () => {
    const a = await asks({ command: ["echo", "a"] });
    const b = await asks({ command: ["echo", "b"] });
    const swapped = await send(root, { id: b.approval.id, digest: a.approval.digest }, "allow_once");
    expect(swapped.status).toBe(409);
    await answer(a.approval, "allow_once");
    await reach(a.job.id, "succeeded");
    expect((await get(b.job.id)).state).toBe("awaiting_approval");
    // The same words within other limits are another act.
    const more = await asks({ command: ["echo", "a"], resources: { cpus: 3, memory: "64MiB" } });
    expect(more.approval.digest).not.toBe(a.approval.digest);
    for (const { approval } of [b, more]) await answer(approval, "reject_once");
  });

  it("is not a yes for the next one: the same job again asks again", async () => {
    const spec = { command: ["echo", "twice"] };
    const first = await asks(spec);
    await answer(first.approval, "allow_once");
    await reach(first.job.id, "succeeded");
    const second = await asks(spec);
    expect(second.approval).toMatchObject({ digest: first.approval.digest, supersedes: first.approval.id });
    expect((await send(root, first.approval, "allow_once")).status).toBe(409);
    await answer(second.approval, "reject_once");
    expect(await get(second.job.id)).toMatchObject({ state: "denied", reason: "policy_denied" });
  });

  it("serves every attempt that the job's own retry allows", async () => {
    const retry = { max_attempts: 3, on: ["exit"], backoff: { initial: "1ms" } };
    const { job, approval } = await asks({ command: ["sh", "-c", 'test "$AETHER_ATTEMPT" = 3'], retry });
    await answer(approval, "allow_once");
    expect(await reach(job.id, "succeeded")).toMatchObject({ attempt: 3 });
    expect((await read(approval.id)).uses.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  });

  it("answers equal questions together, and only those that were asked by then", async () => {
    const spec = { command: ["echo", "equal"] };
    const jobs = [await submit(spec), await submit(spec), await submit(spec)];
    expect(new Set(jobs.map(({ approval_id }) => approval_id)).size).toBe(1);
    const approval = await read(jobs[0]?.approval_id ?? null);
    expect(approval.subjects.map(({ job_id }) => job_id)).toEqual(jobs.map(({ id }) => id));
    const other = await submit(spec, bens);
    expect(other.approval_id).not.toBe(approval.id);
    await answer(approval, "allow_once");
    for (const { id } of jobs) await reach(id, "succeeded");
    expect((await get(other.id)).state).toBe("awaiting_approval");
    await bens.post(`/v0/jobs/${other.id}/kill`, {});
  });

  it("comes from nobody who asked: not without a secret, not with a wrong one", async () => {
    const { job, approval } = await asks({ command: ["echo", "mine"] });
    for (const secret of [undefined, "not the secret at all"]) {
      const refused = await send(adas, approval, "allow_once", secret === undefined ? {} : { secret });
      expect(refused.status, refused.body).toBe(403);
    }
    expect((await get(job.id)).state).toBe("awaiting_approval");
    const secret = "correct horse battery";
    const set = await adas.run(
      ...["-X", "PUT", "-H", "Content-Type: application/json", "-d", JSON.stringify({ secret })],
      "http://aether/v0/approvals/secret",
    );
    expect(set.status, set.body).toBe(200);
    expect((await send(adas, approval, "allow_once", { secret: `${secret}!` })).status).toBe(403);
    expect(parse<Approval>(await send(adas, approval, "allow_once", { secret }))).toMatchObject({
      state: "approved",
      answered_by: `user:${ada.uid}`,
    });
    await reach(job.id, "succeeded");
    const audit = (await root.get("/v0/audit?limit=100")).body;
    expect(audit).not.toContain(secret);
  });

  it("is not to be had for a guess: to others an approval is as one that does not exist", async () => {
    const { approval } = await asks({ command: ["echo", "hidden"] });
    for (const id of [approval.id, createId("apr")]) {
      expect((await bens.get(`/v0/approvals/${id}`)).status).toBe(404);
      expect((await send(bens, { id, digest: approval.digest }, "allow_once")).status).toBe(404);
      expect((await bens.run("-X", "DELETE", `http://aether/v0/approvals/${id}`)).status).toBe(404);
    }
    expect((await bens.get("/v0/approvals")).body).not.toContain(approval.id);
    expect((await bens.get("/v0/events?type=dev.aether.approval.")).body).not.toContain(approval.id);
    expect((await read(approval.id)).state).toBe("pending");
    const taken = await adas.run("-X", "DELETE", `http://aether/v0/approvals/${approval.id}`);
    expect(parse<Approval>(taken).state).toBe("cancelled");
  });

  it("cannot be given from inside a job: there is no socket and no way to one", async () => {
    const { approval, job } = await asks({ command: ["true"] });
    const tries = [
      `test ! -e ${aether.socket} || echo reached the socket`,
      `for path in / /run /var /home /root; do find $path -xdev -type s 2>/dev/null; done`,
      "tail -q -n +2 /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/unix",
    ];
    const inside = await submit({ command: ["sh", "-c", tries.join("\n")], resources: { cpus: 0.5, memory: "64MiB" } });
    await reach(inside.id, "succeeded");
    expect((await root.get(`/v0/jobs/${inside.id}/logs?format=raw`)).body).toBe("");
    expect((await read(approval.id)).state).toBe("pending");
    await adas.post(`/v0/jobs/${job.id}/kill`, {});
    await waitFor("the question to be withdrawn", async () => (await read(approval.id)).state === "cancelled");
  });

  it("to an agent comes from whom it works for, and never from the agent, inside or through another's socket", async () => {
    const limit = { cpus: 0.5, memory: "64MiB", disk: "16MiB", timeout: "5m" };
    const made = await adas.post("/v0/agents", { name: "scout", limits: limit });
    expect(made.status, made.body).toBe(201);
    const spec = JSON.stringify({
      command: ["echo", "more"],
      timeout: "2h",
      resources: { cpus: 0.5, memory: "64MiB" },
    });
    const http = `curl -sS --unix-socket "$AETHER_SOCKET" -H 'Content-Type: application/json'`;
    const url = "http://aether/v0";
    const script = [
      `job=$(${http} -d '${spec}' ${url}/jobs)`,
      `id=$(echo "$job" | grep -o 'apr_[0-9a-z]*' | head -1)`,
      `digest=$(${http} ${url}/approvals/$id | grep -o 'sha256:[0-9a-f]*' | head -1)`,
      `${http} -o /dev/null -w '%{http_code}\\n' -d '{"option":"allow_once","digest":"'$digest'"}' ${url}/approvals/$id/answer`,
      `${http} -o /dev/null -w '%{http_code}\\n' -X PUT -d '{"secret":"mine, all mine"}' ${url}/approvals/secret`,
      `echo $id`,
    ].join("\n");
    const attached = { command: ["sh", "-c", script], attach: { agent: "scout" }, resources: {} };
    const program = parse<Job>(await adas.post("/v0/jobs?wait=30s", attached));
    expect(program).toMatchObject({ state: "succeeded" });
    const printed = (await adas.get(`/v0/jobs/${program.id}/logs?format=raw`)).body.trim().split("\n");
    expect(printed.slice(0, 2)).toEqual(["403", "403"]);
    const approval = await read(printed[2] ?? "");
    expect(approval).toMatchObject({
      state: "pending",
      requester: { principal: "agent:scout", owner: `user:${ada.uid}` },
      why: [expect.objectContaining({ policy: "agents-ask-for-more" })],
    });
    expect((await send(bens, approval, "allow_once")).status).toBe(404);
    const [asked] = (await adas.get("/v0/events?type=dev.aether.approval.requested.v1&tail=1")).body.split("\n");
    expect(JSON.parse(asked ?? "")).toMatchObject({ subject: approval.id, data: { requester: "agent:scout" } });
    expect(parse<Approval>(await send(adas, approval, "allow_once"))).toMatchObject({ answered_by: `user:${ada.uid}` });
    await reach(approval.subjects[0]?.subject ?? "", "succeeded");
  });

  it("shows what is in a command line, not what it looks like", async () => {
    const command = [
      "sh",
      "-c",
      "echo ok; rm -rf /\n\u001b[2K\u202Egpj.exe\u2066",
      "p\u0430yroll",
      "$(id)",
      "a' \"b",
      "\u3164",
    ];
    const { approval } = await asks({ command });
    const shown = JSON.stringify(approval.preview);
    expect(shown).toMatch(/^[ -~]+$/);
    if (approval.preview.kind !== "job") throw new Error("a job has the preview of a job");
    const { argv } = approval.preview;
    expect(argv).toHaveLength(command.length);
    expect(argv.slice(4, 6)).toEqual(["$(id)", "a' \"b"]);
    expect(argv[2]).toContain("\\u{202e}");
    expect(argv[3]).toBe("p\\u{430}yroll");
    await answer(approval, "reject_once");
  });

  it("that was taken back before the start lets nothing start", async () => {
    const { job, approval } = await asks({ command: ["echo", "back"], pool: "nobody" });
    await answer(approval, "allow_once");
    await reach(job.id, "queued");
    const taken = await root.run("-X", "DELETE", `http://aether/v0/approvals/${approval.id}`);
    expect(parse<Approval>(taken).state).toBe("revoked");
    await waitFor("the job to be denied", async () => (await get(job.id)).state === "denied");
    expect((await get(job.id)).message).toBe("the approval was taken back");
  });

  it("is held against the policies of now: what they forbid by then does not start", async () => {
    await aether.programs.worker.kill("SIGTERM");
    const { job, approval } = await asks({ command: ["echo", "now"] });
    await answer(approval, "allow_once");
    await reach(job.id, "queued");
    await setPolicies(asking("false"));
    aether.programs.worker.start();
    await waitFor("the job to be denied", async () => (await get(job.id)).state === "denied");
    await setPolicies(asking("context has approval"));
    expect((await get(job.id)).started_at).toBeNull();
  });

  it("that comes too late is refused, and the job has expired, not been denied", async () => {
    await setPolicies(asking("context has approval", '\n@timeout("1s")'));
    const { job, approval } = await asks({ command: ["echo", "late"] });
    await waitFor("the job to expire", async () => (await get(job.id)).state === "expired");
    expect(await get(job.id)).toMatchObject({ reason: "approval_expired" });
    const late = await send(root, approval, "allow_once");
    expect([late.status, parseProblem(late).detail]).toEqual([409, expect.stringContaining("expired")]);
    await setPolicies(asking("context has approval"));
  });

  it("counts once where two answer: the first one holds, and the second is told", async () => {
    const { job, approval } = await asks({ command: ["sleep", "600"] });
    const answers = await Promise.all([send(root, approval, "allow_once"), send(root, approval, "reject_once")]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    const won = answers[0]?.status === 200 ? "approved" : "denied";
    expect(["used", won]).toContain((await read(approval.id)).state);
    await adas.post(`/v0/jobs/${job.id}/kill`, {});
  });

  it("waits through the end of everything, and holds through it too", async () => {
    const waiting = await asks({ command: ["echo", "through"] });
    const { policy, jobs, worker } = aether.programs;
    await Promise.all([policy.kill(), jobs.kill()]);
    policy.start();
    jobs.start();
    await aether.ready();
    expect(await read(waiting.approval.id)).toEqual(waiting.approval);
    await worker.kill("SIGTERM");
    await answer(waiting.approval, "allow_once");
    await Promise.all([policy.kill(), jobs.kill()]);
    for (const program of [policy, jobs, worker]) program.start();
    await aether.ready();
    await reach(waiting.job.id, "succeeded");
    expect(await read(waiting.approval.id)).toMatchObject({ state: "used", uses: [{ subject: waiting.job.id }] });
  });

  it("for longer is a grant that says what it allows, answers what waits for the same, and ends when it is taken back", async () => {
    const intent = createId("int");
    const first = await asks({ command: ["echo", "1"], intent_id: intent });
    const second = await asks({ command: ["echo", "2"], intent_id: intent });
    const session = first.approval.options.find(({ kind }) => kind === "allow_session");
    expect(session?.rule).toMatchObject({ intent_id: intent, action: "start_job", facts: { cpus_milli: 2000 } });
    const { grant_id } = await answer(first.approval, "allow_session");
    for (const { job } of [first, second]) await reach(job.id, "succeeded");
    const third = await submit({ command: ["echo", "3"], intent_id: intent });
    expect(third.state).toBe("queued");
    await reach(third.id, "succeeded");
    const wider = { command: ["echo", "4"], intent_id: intent, resources: { cpus: 3, memory: "64MiB" } };
    const elsewhere = { command: ["echo", "5"] };
    for (const spec of [wider, elsewhere]) await answer((await asks(spec)).approval, "reject_once");

    await aether.programs.worker.kill("SIGTERM");
    const queued = await submit({ command: ["echo", "6"], intent_id: intent });
    expect(queued.state).toBe("queued");
    expect((await bens.run("-X", "DELETE", `http://aether/v0/grants/${grant_id}`)).status).toBe(404);
    parse(await adas.run("-X", "DELETE", `http://aether/v0/grants/${grant_id}`));
    aether.programs.worker.start();
    const again = await waitFor("it to ask again", async () => {
      const job = await get(queued.id);
      return job.state === "awaiting_approval" && job;
    });
    await answer(await read(again.approval_id), "reject_once");
    await reach(queued.id, "denied").catch(() => {});
    expect((await get(queued.id)).state).toBe("denied");
  });

  it("is asked for under reloads of policy, and every answer is of one set or the other", async () => {
    const ends = { over: false };
    const reloading = (async () => {
      for (let i = 0; i < 4; i++) await setPolicies(asking(i % 2 === 0 ? "true" : "context has approval"));
      ends.over = true;
    })();
    const seen = new Map<string, number>();
    for (let i = 0; !ends.over; i++) {
      const { state, id } = await submit({ command: ["true"], name: `reload-${i}` });
      seen.set(state, (seen.get(state) ?? 0) + 1);
      await adas.post(`/v0/jobs/${id}/kill`, {});
    }
    await reloading;
    expect([...seen.keys()].sort()).toEqual(["awaiting_approval", "queued"]);
  });

  it("is not drowned: a flood is refused with the figure, 1,000 wait side by side, and one answer still works", async () => {
    await using gateway = await aether.connect("gateway");
    const ask = async (uid: number, i: number) => {
      const principal: Principal = { type: "User", id: String(uid), uid, roles: ["member"] };
      const spec = { ...large, command: ["echo", `${uid}`, `${i}`], pool: "nobody" };
      return (await request(gateway, submitJob, spec, { envelope: { request_id: createId("req"), principal } })).reply;
    };
    const uids = Array.from({ length: 10 }, (_, i) => 42_000 + i);
    const flood = async (uid: number) => {
      const jobs: Job[] = [];
      for (let i = 0; i < limits.approvalsPendingPerPrincipal; i++) jobs.push(await ask(uid, i));
      await expect(ask(uid, -1)).rejects.toMatchObject({
        slug: "too-many-requests",
        problem: { detail: expect.stringContaining(String(limits.approvalsPendingPerPrincipal)) },
      });
      return jobs;
    };
    const jobs = (await Promise.all(uids.map(flood))).flat();
    expect(new Set(jobs.map(({ state }) => state))).toEqual(new Set(["awaiting_approval"]));
    const { approval, job } = await asks({ command: ["echo", "beside a flood"] });
    await answer(approval, "allow_once");
    await reach(job.id, "succeeded");
    const middle = jobs[500];
    if (!middle) throw new Error("a thousand jobs wait");
    await answer(await read(middle.approval_id), "allow_once");
    await reach(middle.id, "queued");
    expect((await get(jobs[501]?.id ?? "")).state).toBe("awaiting_approval");
  }, 120_000);
});

function parse<T>({ status, body }: Answer): T {
  expect(status, body).toBeLessThan(300);
  return JSON.parse(body) as T;
}

function parseProblem({ body }: Answer): Problem {
  return JSON.parse(body) as Problem;
}
