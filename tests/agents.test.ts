// Two users and their agents over real sockets: who is who, what an agent's sandbox reaches, what it keeps, and what is left when
// the agent is gone.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Agent, type AuditRecord, isTerminal, type Job, type Problem, type WhoAmI } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const small = { cpus: 0.5, memory: "64MiB", disk: "16MiB", timeout: "1m" };
const inside = "/run/aether/aetherd.sock";
const ask = (path: string, ...args: string[]) =>
  `curl -sS -o /dev/null -w '%{http_code}\\n' ${args.join(" ")} --unix-socket ${inside} http://aether/v0${path}`;

describe.skipIf(missing)(`agents${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  let asAda: Curl;
  let asBen: Curl;

  beforeAll(async () => {
    const people = { AETHER_UID_DOMAIN: "0-49999,65534" };
    aether = await startAether({
      environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name, ...people } },
    });
    curl = createCurl(aether.socket);
    [asAda, asBen] = [curl.as(ada), curl.as(ben)];
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const bodyOf = <T>({ body }: Answer): T => JSON.parse(body) as T;
  const socketOf = (name: string) => join(aether.home, "agents", name, "aetherd.sock");
  const remove = (as: Curl, name: string) => as.run("-X", "DELETE", `http://aether/v0/agents/${name}`);

  async function add(name: string, as: Curl = asAda, more: object = {}): Promise<Agent> {
    const made = await as.post("/v0/agents", { name, limits: small, ...more });
    expect([made.status, made.body]).toEqual([201, expect.any(String)]);
    await waitFor("its socket", () => existsSync(socketOf(name)));
    return bodyOf(made);
  }

  const submit = (name: string, script: string, as: Curl = asAda, more: object = {}) =>
    as.post("/v0/jobs", { command: ["sh", "-c", script], attach: { agent: name }, ...more });

  const printed = async (id: string, as: Curl = asAda) =>
    (await as.get(`/v0/jobs/${id}/logs?format=raw`)).body.trimEnd().split("\n");

  /** Runs a script as the agent to its end, and answers what it printed. */
  async function runAs(name: string, script: string, as: Curl = asAda): Promise<string[]> {
    const answer = await submit(name, script, as);
    expect([answer.status, answer.body]).toEqual([201, expect.any(String)]);
    const ended = bodyOf<Job>(await as.get(`/v0/jobs/${bodyOf<Job>(answer).id}?wait=30s`));
    expect([ended.state, ended.message]).toEqual(["succeeded", null]);
    return printed(ended.id, as);
  }

  async function end({ id }: Job, as: Curl = asAda): Promise<Job> {
    await as.post(`/v0/jobs/${id}/kill`, {});
    return bodyOf<Job>(await as.get(`/v0/jobs/${id}?wait=30s`));
  }

  describe("in their sandbox", () => {
    beforeAll(async () => void (await add("scout")));

    it("are who their socket says, and find nothing else of Aether", async () => {
      const [who = "", ...rest] = await runAs(
        "scout",
        `curl -sS --unix-socket ${inside} http://aether/v0/whoami; echo
         echo $AETHER_SOCKET $AETHER_AGENT; find / -type s 2>/dev/null; ls -A /run /run/aether
         ls ${aether.home} 2>&1; curl -s -m 2 ${aether.nats.url.replace("nats:", "http:")} || echo no network
         touch /run/aether/mine 2>&1; rm ${inside} 2>&1; true`,
      );
      expect(JSON.parse(who)).toMatchObject({
        ...{ type: "Agent", id: "scout", name: "agent:scout", roles: ["agent"], owner: "user:41001" },
        ...{ known_by: "socket", same_uid: false, groups: [], note: null },
      });
      expect(rest).toEqual([
        `${inside} scout`,
        ...[inside, "/run:", "aether", "", "/run/aether:", "aetherd.sock"],
        expect.stringMatching(/No such file/),
        "no network",
        expect.stringMatching(/Permission denied|Read-only/),
        expect.stringMatching(/Permission denied|Read-only/),
      ]);
    });

    it("may not do what is a person's: make, see, run or remove agents, read the audit log or the metrics", async () => {
      const json = "-H 'Content-Type: application/json' -d";
      const statuses = await runAs(
        "scout",
        [
          ask("/agents", json, `'{"name":"child"}'`),
          ask("/agents"),
          ask("/agents/scout"),
          ask("/agents/scout", "-X", "DELETE"),
          ask("/jobs", json, `'{"command":["true"],"attach":{"agent":"scout"}}'`),
          ask("/audit"),
          ask("/metrics"),
        ].join("; "),
      );
      expect(statuses).toEqual(["403", "403", "404", "404", "400", "403", "403"]);
      const { items } = bodyOf<{ items: AuditRecord[] }>(await curl.get("/v0/audit?actor=agent:scout&decision=deny"));
      expect(items.map(({ action }) => action)).toEqual(expect.arrayContaining(["add_agent", "read_audit"]));
      expect(items[0]?.actor).toMatchObject({ type: "Agent", id: "scout", owner: "user:41001", same_uid: false });
    });

    it("submit jobs that are theirs and have no socket, and are denied those of others", async () => {
      const json = "-H 'Content-Type: application/json' -d";
      const adas = bodyOf<Job>(await asAda.post("/v0/jobs", { command: ["true"], pool: "elsewhere" }));
      const spec = { command: ["ls", "/run"], resources: { cpus: 0.1, memory: "32MiB" } };
      const [job = "", list = "", others = ""] = await runAs(
        "scout",
        `api() { curl -sS --unix-socket ${inside} "$@"; echo; }
         api 'http://aether/v0/jobs?wait=20s' ${json} '${JSON.stringify(spec)}'; api http://aether/v0/jobs
         ${ask(`/jobs/${adas.id}`)}`,
      );
      const made = JSON.parse(job) as Job;
      expect(made).toMatchObject({ owner: "agent:scout", state: "failed", exit_code: 2, spec: { attach: null } });
      expect((JSON.parse(list) as { items: Job[] }).items.map(({ id }) => id)).toEqual([made.id]);
      expect(others).toBe("404");
      const { items } = bodyOf<{ items: AuditRecord[] }>(await curl.get(`/v0/audit?job_id=${made.id}&kind=decision`));
      const started = items.find(({ action }) => action === "start_job");
      expect(started).toMatchObject({
        actor: { type: "Agent", id: "scout", owner: "user:41001" },
        decision: { outcome: "allow", policies: ["agents-run-small"] },
      });
      await end(adas);

      const listed = bodyOf<{ items: Job[] }>(await asAda.get("/v0/jobs?limit=500")).items;
      expect(listed.map(({ owner }) => owner)).toEqual(expect.arrayContaining(["user:41001", "agent:scout"]));
      expect(listed.map(({ id }) => id)).toEqual(
        listed
          .map(({ id }) => id)
          .sort()
          .reverse(),
      );
      expect((await asAda.get(`/v0/jobs/${made.id}/logs?format=raw`)).status).toBe(200);
      expect((await asBen.get(`/v0/jobs/${made.id}`)).status).toBe(404);
      expect(bodyOf<{ items: Job[] }>(await asBen.get("/v0/jobs")).items).toEqual([]);
    });

    it("leave a job behind that their person sees and ends", async () => {
      const json = "-H 'Content-Type: application/json' -d";
      const spec = JSON.stringify({ command: ["sleep", "600"], resources: { cpus: 0.1, memory: "32MiB" } });
      const [answer = ""] = await runAs(
        "scout",
        `curl -sS --unix-socket ${inside} http://aether/v0/jobs ${json} '${spec}'`,
      );
      const { id } = JSON.parse(answer) as Job;
      for (const as of [asBen, curl]) expect((await as.post(`/v0/jobs/${id}/kill`, {})).status).not.toBe(202);
      expect((await asAda.post(`/v0/jobs/${id}/kill`, {})).status).toBeLessThan(203);
      expect(bodyOf<Job>(await asAda.get(`/v0/jobs/${id}?wait=30s`)).state).toBe("killed");
    });

    it("are opened no file of the host by its path, although they store and read bytes", async () => {
      const json = "-H 'Content-Type: application/json' -d";
      const [register, placed, document, note, found] = await runAs(
        "scout",
        `api() { curl -sS --unix-socket ${inside} "$@"; echo; }
         api http://aether/v0/artifacts ${json} '{"path":"/etc/hostname"}'
         id=$(api -X PUT --data-binary 42 'http://aether/v0/artifacts/content?name=x' | sed 's/.*"id":"\\(art_[0-9a-z]*\\)".*/\\1/')
         api http://aether/v0/artifacts/$id
         api http://aether/v0/memory/entries ${json} '{"kind":"document","path":"/etc/hostname"}'
         api http://aether/v0/memory/entries ${json} '{"kind":"note","text":"A note of its own."}'
         api http://aether/v0/memory/search?q=note`,
      );
      expect(JSON.parse(register ?? "")).toMatchObject({
        status: 422,
        detail: "only users of this host have files here",
      });
      expect(JSON.parse(placed ?? "")).toMatchObject({ owner: "agent:scout", size_bytes: 2, path: null });
      expect(JSON.parse(document ?? "")).toMatchObject({ detail: expect.stringContaining("only users of this host") });
      expect(JSON.parse(note ?? "")).toMatchObject({ owner: "agent:scout", trust: expect.any(String) });
      expect(JSON.parse(found ?? "")).toMatchObject({ results: [{ owner: "agent:scout" }] });
    });

    it("keep their folder and their uid from one run to the next, within their disk, and nothing of /outputs", async () => {
      await runAs("scout", "echo kept >note; ln -s / root; echo gone >/outputs/x");
      const [kept, uid, outputs, full] = await runAs(
        "scout",
        "cat note; stat -c %u note; ls /outputs | wc -l; head -c 32m /dev/zero >big 2>/dev/null || echo full; rm big",
      );
      expect([kept, uid, outputs, full]).toEqual(["kept", "1000", "0", "full"]);
      await add("other");
      expect(await runAs("other", "ls -A | grep -vx lost+found | wc -l")).toEqual(["0"]);
    });

    it("keep it when the worker was killed in the middle, and the next one mounts it anew", async () => {
      const job = bodyOf<Job>(await submit("scout", "echo before >crash; sync; echo ready; sleep 100"));
      await waitFor("it to be ready", async () => (await printed(job.id)).includes("ready"));
      await aether.programs.worker.kill();
      aether.programs.worker.start();
      await waitFor("it to be lost", async () => isTerminal(bodyOf<Job>(await asAda.get(`/v0/jobs/${job.id}`)).state));
      expect(await runAs("scout", "cat crash")).toEqual(["before"]);
    }, 60_000);

    it("are given no file into that folder by root, which a link there could lead astray", async () => {
      const args = ["-X", "PUT", "--data-binary", "42", "http://aether/v0/artifacts/content?name=x"];
      const { id } = bodyOf<{ id: string }>(await asAda.run(...args));
      const into = (path: string) => submit("scout", "cat /inputs/x", asAda, { inputs: [{ artifact: id, path }] });
      const refused = await into("/workspace/root/tmp/x");
      expect([refused.status, bodyOf<Problem>(refused).detail]).toEqual([
        400,
        "inputs.0.path: must be under /inputs, as /workspace is the agent's folder",
      ]);
      const { id: job } = bodyOf<Job>(await into("/inputs/x"));
      expect(bodyOf<Job>(await asAda.get(`/v0/jobs/${job}?wait=30s`)).state).toBe("succeeded");
      expect(await printed(job)).toEqual(["42"]);
    });

    it("have their limits where nothing is said, less where less is said, and never more", async () => {
      const resourcesOf = async (more: object) => {
        const job = bodyOf<Job>(await submit("scout", "true", asAda, { pool: "elsewhere", ...more }));
        await end(job);
        return [job.spec.resources, job.spec.timeout, job.spec.labels];
      };
      const whole = { cpus: 0.5, memory: "64MiB", pids: 256, disk: "16MiB", io: { read_bps: null, write_bps: null } };
      const labels = { "aether.agent": "scout" };
      expect(await resourcesOf({})).toEqual([whole, "1m", labels]);
      const less = { resources: { cpus: 0.25, pids: 16 }, timeout: "5s", labels: { a: "b" } };
      expect(await resourcesOf(less)).toEqual([{ ...whole, cpus: 0.25, pids: 16 }, "5s", { a: "b", ...labels }]);
      for (const more of [
        { resources: { cpus: 0.6 } },
        { resources: { memory: "65MiB" } },
        { resources: { pids: 257 } },
        { timeout: "2m" },
      ]) {
        const answer = await submit("scout", "true", asAda, more);
        expect([answer.status, bodyOf<Problem>(answer).detail]).toEqual([
          400,
          expect.stringMatching(/is more than the agent's limit of/),
        ]);
      }
    });
  });

  describe("on the host", () => {
    beforeAll(async () => void (await add("hidden")));

    it("cannot be played: nobody but the sandbox comes to the socket, not the owner either", async () => {
      const folder = statSync(dirname(socketOf("hidden")));
      expect(folder.mode & 0o7777).toBe(0o700);
      await runAs("hidden", "true");
      const opened = statSync(dirname(socketOf("hidden")));
      expect([opened.mode & 0o7777, opened.uid, opened.gid > 1_879_000_000]).toEqual([0o750, folder.uid, true]);
      for (const who of [ada, ben, { uid: 65_534, gid: 65_534 }, { uid: opened.gid + 1, gid: opened.gid + 1 }]) {
        await expect(createCurl(socketOf("hidden"), who).get("/v0/whoami"), String(who.uid)).rejects.toThrow(
          "curl ended with 7",
        );
      }
    });

    it("have names that are names and no paths", async () => {
      for (const name of ["..", "../x", "a/b", "A", "", "-a", "a-", "a b", "a\n", "a.b", "x".repeat(33), "ä"]) {
        expect((await asAda.post("/v0/agents", { name })).status, JSON.stringify(name)).toBe(400);
        expect((await submit(name, "true")).status, JSON.stringify(name)).toBe(400);
      }
      expect((await remove(asAda, "..%2Faetherd.sock")).status).toBe(400);
      expect(readdirSync(join(aether.home, "agents")).every((name) => /^[a-z]+$/.test(name))).toBe(true);
    });

    it("are there again when the gateway was killed, also for a sandbox that runs", async () => {
      const loop = `while :; do ${ask("/whoami")} 2>/dev/null || echo down; sleep 0.05; done`;
      const job = bodyOf<Job>(await submit("hidden", loop));
      await waitFor("an answer", async () => (await printed(job.id)).includes("200"));
      await aether.programs.gateway.kill();
      aether.programs.gateway.start();
      await aether.ready();
      await waitFor("an answer after it", async () => {
        const lines = await printed(job.id);
        return lines.slice(lines.indexOf("down")).includes("200") && lines.includes("down");
      });
      expect((await end(job)).state).toBe("killed");
    });

    it("run one program at a time, which has the folder to itself", async () => {
      const first = bodyOf<Job>(await submit("hidden", "echo ready; sleep 100"));
      await waitFor("it to be ready", async () => (await printed(first.id)).includes("ready"));
      const second = await submit("hidden", "echo second");
      expect([second.status, bodyOf<Problem>(second).detail]).toEqual([409, `hidden runs already, as ${first.id}`]);
      await end(first);
      expect(await runAs("hidden", "echo second")).toEqual(["second"]);
    });
  });

  describe("of two users", () => {
    beforeAll(async () => void (await add("adas")));

    it("are for the other as if they were not there", async () => {
      expect((await asBen.get("/v0/agents/adas")).status).toBe(404);
      expect((await remove(asBen, "adas")).status).toBe(404);
      const run = await submit("adas", "true", asBen);
      expect([run.status, bodyOf<Problem>(run).detail]).toEqual([400, "attach.agent: there is no such agent"]);
      const nowhere = await submit("nowhere", "true", asBen);
      expect([nowhere.status, bodyOf<Problem>(nowhere).detail]).toEqual([400, bodyOf<Problem>(run).detail]);
      expect(bodyOf<{ items: Agent[] }>(await asBen.get("/v0/agents")).items).toEqual([]);
      expect((await asBen.post("/v0/agents", { name: "adas" })).status).toBe(409);
      expect((await asBen.post("/v0/agents", { name: "bens", owner: "user:41001" })).status).toBe(403);
    });

    it("are seen, made for others and run by an operator, which is on record", async () => {
      const made = await add("given", curl, { owner: "user:41002" });
      expect(made).toMatchObject({ owner: "user:41002", created_by: "user:0" });
      const listed = bodyOf<{ items: Agent[]; next_cursor: string | null }>(await curl.get("/v0/agents?limit=2"));
      expect(listed.items).toHaveLength(2);
      const next = bodyOf<{ items: Agent[] }>(await curl.get(`/v0/agents?cursor=${listed.next_cursor}`));
      expect([...listed.items, ...next.items].map(({ name }) => name)).toEqual(
        expect.arrayContaining(["adas", "given"]),
      );
      expect(bodyOf<Agent>(await asBen.get("/v0/agents/given"))).toEqual(made);
      await runAs("given", "true", curl);
      const { items } = bodyOf<{ items: AuditRecord[] }>(await curl.get("/v0/audit?action=run_agent&actor=user:0"));
      expect(items[0]).toMatchObject({
        resource: { type: "AgentRecord", id: "given" },
        decision: { outcome: "allow", policies: ["operators-agents"] },
      });
    });

    it("are gone at once when they are removed, and their name stays their owner's", async () => {
      await add("brief");
      const loop = `while :; do ${ask("/whoami")} 2>/dev/null || echo refused; sleep 0.05; done`;
      const running = bodyOf<Job>(await submit("brief", loop));
      await waitFor("an answer", async () => (await printed(running.id)).includes("200"));
      expect((await remove(asAda, "brief")).status).toBe(200);
      await waitFor("the socket to be gone", () => !existsSync(socketOf("brief")));
      await waitFor("a refusal", async () => (await printed(running.id)).at(-1) === "refused");
      await end(running);
      for (const answer of [await asAda.get("/v0/agents/brief"), await remove(asAda, "brief")])
        expect(answer.status).toBe(404);
      expect((await submit("brief", "true")).status).toBe(400);
      const taken = await asBen.post("/v0/agents", { name: "brief" });
      expect([taken.status, bodyOf<Problem>(taken).detail]).toEqual([409, "the name brief is taken"]);
      await add("brief");
      expect((await runAs("brief", ask("/whoami"))).at(-1)).toBe("200");
    });

    it("do not start any more when they were removed while their job waited", async () => {
      await add("late");
      await aether.programs.worker.kill();
      const job = bodyOf<Job>(await submit("late", "true"));
      await remove(asAda, "late");
      aether.programs.worker.start();
      const ended = bodyOf<Job>(await asAda.get(`/v0/jobs/${job.id}?wait=30s`));
      expect(ended).toMatchObject({ state: "denied", reason: "policy_denied", message: "the agent late was removed" });
    }, 60_000);

    it("are no more than a person may have", async () => {
      const many = await Promise.all(
        Array.from({ length: 33 }, (_, n) => curl.post("/v0/agents", { name: `many-${n}`, owner: "user:41003" })),
      );
      const statuses = many.map(({ status }) => status);
      expect(statuses.filter((status) => status === 201).length).toBeGreaterThanOrEqual(32);
      const over = await curl.post("/v0/agents", { name: "many-more", owner: "user:41003" });
      expect([over.status, bodyOf<Problem>(over).detail]).toEqual([429, expect.stringMatching(/32 names/)]);
    });
  });

  describe("and people", () => {
    const whoami = async (who: { uid: number; gid: number }) => bodyOf<WhoAmI>(await curl.as(who).get("/v0/whoami"));

    it("are told who they are", async () => {
      expect(bodyOf<WhoAmI>(await curl.get("/v0/whoami"))).toMatchObject({ name: "user:0", roles: ["operator"] });
      expect(await whoami(ada)).toMatchObject({
        ...{ type: "User", id: "41001", name: "user:41001", roles: ["member"], owner: null, uid: 41_001, gid: 1 },
        ...{
          known_by: "credentials",
          same_uid: false,
          note: expect.stringMatching(/^every program of uid 41001 is you/),
        },
      });
    });

    it("that are nobody have no rights, are refused by policy, and are on record", async () => {
      const adas = bodyOf<Job>(await asAda.post("/v0/jobs", { command: ["true"], pool: "elsewhere" }));
      for (const [uid, note] of [
        [65_534, /stands for every user without a number/],
        [50_000, /outside of the declared uids/],
      ] as const) {
        const who = { uid, gid: memberGroup.gid };
        expect(await whoami(who)).toMatchObject({ name: `user:${uid}`, roles: [], note: expect.stringMatching(note) });
        const as = curl.as(who);
        const answers = [
          await as.post("/v0/jobs", { command: ["true"] }),
          await as.get("/v0/jobs"),
          await as.get(`/v0/jobs/${adas.id}`),
          await as.post("/v0/agents", { name: "nobodys" }),
          await as.get("/v0/audit"),
        ];
        expect(answers.map(({ status }) => status)).toEqual([403, 403, 404, 403, 403]);
        const { items } = bodyOf<{ items: AuditRecord[] }>(await curl.get(`/v0/audit?actor=user:${uid}&decision=deny`));
        expect(items.map(({ action }) => action)).toEqual(
          expect.arrayContaining(["submit_job", "list_jobs", "read_job", "add_agent", "read_audit"]),
        );
      }
      await end(adas);
    });
  });

  it("reading this file's folder of sockets is nobody's but the gateway's", () => {
    const { mode, uid } = statSync(join(aether.home, "agents"));
    expect([mode & 0o7777, uid]).toEqual([0o711, 0]);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(`${aether.home}/agents`);
  });
});
