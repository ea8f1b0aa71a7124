// Secrets of jobs through the whole system: the file that a job finds, whose secrets it may be given, what comes between a submit and
// a start, and everything that a value must not be found in.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { request } from "@aether/bus";
import {
  type Approval,
  createId,
  isTerminal,
  type Job,
  type JobSpecInput,
  type Secret,
  setSecret,
  takeSecret,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Curl, createCurl, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const small = { resources: { cpus: 0.5, memory: "64MiB" } };

describe.skipIf(missing)(`secrets of jobs${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let policies: ReturnType<typeof tempDir>;
  let curl: Curl;
  beforeAll(async () => {
    policies = tempDir();
    aether = await startAether({
      supervised: true,
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

  const set = async (name: string, value: string, as: Curl = curl, query = "") => {
    const answer = await as.run("-X", "PUT", "--data-binary", value, urlOf(`/v0/secrets/${name}${query}`));
    expect([answer.status, answer.body]).toEqual([200, expect.any(String)]);
    return JSON.parse(answer.body) as Secret;
  };
  const list = async (as: Curl) => (JSON.parse((await as.get("/v0/secrets")).body) as { items: Secret[] }).items;
  const remove = (name: string, as: Curl) => as.run("-X", "DELETE", urlOf(`/v0/secrets/${name}`));
  const submit = (script: string, secrets: JobSpecInput["secrets"], as: Curl = curl, more: object = {}) =>
    as.post("/v0/jobs", { command: ["sh", "-c", script], ...small, secrets, ...more });
  async function ended(id: string): Promise<Job> {
    return waitFor(
      "the job to end",
      async () => {
        const job = await aether.client.jobs.get(id, { wait: "10s" }).catch(() => null);
        return job && isTerminal(job.state) ? job : null;
      },
      60_000,
    );
  }
  async function run(script: string, secrets: JobSpecInput["secrets"], as: Curl = curl) {
    const answer = await submit(script, secrets, as);
    expect([answer.status, answer.body]).toEqual([201, expect.any(String)]);
    const job = await ended((JSON.parse(answer.body) as Job).id);
    return { job, log: (await as.get(`/v0/jobs/${job.id}/logs?format=raw`)).body };
  }
  const problemOf = ({ status, body }: { status: number; body: string }) => {
    const { detail, errors } = JSON.parse(body) as { detail: string; errors: { message: string }[] };
    return { status, detail, message: errors?.[0]?.message };
  };
  /** Loads a policy of the owner's, and says when it answers. */
  async function load(text: string | null): Promise<void> {
    const version = async () => (await aether.client.policy.check({ action: "list_jobs" })).policy_version;
    const before = await version();
    if (text === null) rmSync(join(policies.path, "own.cedar"));
    else writeFileSync(join(policies.path, "own.cedar"), text);
    await waitFor("the policies to be loaded", async () => (await version()) !== before);
  }

  it("a job finds a secret as a file of its own, which is in memory and stays as it is", async () => {
    await set("db-password", "correct horse");
    const { job, log } = await run(
      [
        "cat /secrets/db-password; echo",
        "stat -c '%a %u %F' /secrets/db-password; stat -c %a /secrets; stat -f -c %T /secrets/db-password",
        "echo x 2>/dev/null >/secrets/db-password || chmod 600 /secrets/db-password 2>/dev/null || echo kept",
        "rm -f /secrets/db-password 2>/dev/null || touch /secrets/other 2>/dev/null || echo kept",
        "env | grep -c horse; ls /proc/self/fd | tr '\\n' ' '",
      ].join("\n"),
      [{ secret: "db-password" }],
    );
    expect(job).toMatchObject({ state: "succeeded", reason: null });
    expect(job.spec.secrets).toEqual([{ secret: "user:0/db-password", path: "/secrets/db-password" }]);
    const [value, ...rest] = log.split("\n");
    expect(value).toBe("correct horse");
    expect(rest).toEqual(["400 1000 regular file", "500", "tmpfs", "kept", "kept", "0", "0 1 2 3 "]);
    expect(await list(curl)).toMatchObject([{ name: "db-password", version: 1, size_bytes: 13 }]);
    expect((await list(curl))[0]?.last_used_at).not.toBeNull();
  });

  it("a job finds as many as it may name, each whole and under the name that it asked for", async () => {
    const value = randomBytes(64 * 1024);
    const names = Array.from({ length: 16 }, (_, i) => `large-${i}`);
    for (const name of names) await aether.client.secrets.set(name, value);
    const secrets = names.map((secret, i) => ({ secret, path: `/secrets/${i}` }));
    const { job, log } = await run(
      "cat /secrets/* | wc -c; sha256sum /secrets/* | cut -c 1-64 | uniq | wc -l",
      secrets,
    );
    expect([job.state, log]).toEqual(["succeeded", `${16 * 64 * 1024}\n1\n`]);
    for (const name of names) await aether.client.secrets.delete(name);
  });

  it("a value is found nowhere but in its job", async () => {
    const canary = randomBytes(24).toString("hex");
    await aether.client.secrets.set("canary", Buffer.from(canary));
    await aether.client.secrets.set("canary", Buffer.from(`${canary}!`)); // replaced, so that two versions lie there
    const script = "wc -c </secrets/canary; while [ ! -e /tmp/go ]; do sleep 0.05; done";
    const job = JSON.parse((await submit(script, [{ secret: "canary" }])).body) as Job;
    await waitFor(
      "the job to read it",
      async () => (await curl.get(`/v0/jobs/${job.id}/logs?format=raw`)).body === "49\n",
    );
    const shown = await Promise.all([
      aether.client.jobs.get(job.id),
      aether.client.secrets.list(),
      aether.client.audit.list({ limit: 500 }),
      aether.client.metricsText("prometheus"),
      curl.get("/v0/events"),
      curl.get("/v0/health"),
    ]);
    const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    const shownBy = [
      JSON.stringify(shown),
      ...processes.flatMap((pid) => ["cmdline", "environ"].map((file) => readProcess(pid, file))),
    ];
    const files = [aether.home, dirname(aether.nats.keysDir), sandboxDir(aether)];
    expect(formsOf(canary).filter((form) => shownBy.some((text) => text.includes(form)))).toEqual([]);
    expect(filesWith(formsOf(canary), files)).toEqual([]);
    // The search finds what there is to find: the name.
    expect(shownBy.some((text) => text.includes("user:0/canary"))).toBe(true);
    expect(filesWith(["user:0/canary"], files).some((file) => file.includes("KV_jobs"))).toBe(true);
    await aether.client.jobs.kill(job.id);
  });

  it("setting, using and deleting are in the audit log by name, and so is who was refused", async () => {
    await set("recorded", "1", curl.as(ada));
    const { job } = await run("true", [{ secret: "recorded" }], curl.as(ada));
    await submit("true", [{ secret: "user:41001/recorded" }], curl.as(ben));
    await remove("recorded", curl.as(ada));
    const { items } = await aether.client.audit.list({ limit: 500 });
    const about = items
      .filter(({ resource }) => resource?.id === "user:41001/recorded")
      .map(({ actor, action, decision, job_id }) => [
        actor.id,
        actor.via,
        action,
        decision?.outcome,
        job_id === job.id,
      ]);
    expect(about.reverse()).toEqual([
      ["41001", "secrets", "put_secret", "allow", false],
      ["41001", "jobs", "use_secret", "allow", true],
      ["41001", "secrets", "use_secret", "allow", true],
      ["41002", "jobs", "use_secret", "deny", false],
      ["41001", "secrets", "delete_secret", "allow", false],
    ]);
  });

  it("one user's secrets are not there for another, an operator included", async () => {
    await set("token", "ada's", curl.as(ada));
    expect(await list(curl.as(ben))).toEqual([]);
    expect((await remove("token", curl.as(ben))).status).toBe(404);
    for (const as of [curl.as(ben), curl]) {
      for (const secret of ["token", "user:41001/token", "user:41001/none"]) {
        const refused = problemOf(await submit("true", [{ secret }], as));
        const id = secret.includes("/") ? secret : `user:${as === curl ? 0 : ben.uid}/token`;
        expect([refused.status, refused.message]).toEqual([400, `there is no secret ${id}`]);
      }
    }
    expect(await set("token", "ben's", curl.as(ben))).toMatchObject({ owner: "user:41002", version: 1 });
    expect((await run("cat /secrets/token", [{ secret: "token" }], curl.as(ada))).log).toBe("ada's");
    expect((await run("cat /secrets/token", [{ secret: "token" }], curl.as(ben))).log).toBe("ben's");
    await remove("token", curl.as(ada));
    await remove("token", curl.as(ben));
  });

  it("an owner's policy lends what its labels say, to whom it names", async () => {
    await set("shared", "for ben", curl.as(ada), "?label=share%3Dben");
    await set("kept", "for ada", curl.as(ada));
    const refused = async () => (await submit("true", [{ secret: "user:41001/shared" }], curl.as(ben))).status;
    expect(await refused()).toBe(400);
    await load(`@id("ada-lends-ben") @reason("ada's secrets labelled share=ben")
      permit (principal == Aether::User::"41002", action == Aether::Action::"use_secret", resource)
      when { resource has owner && resource.owner == "user:41001" && resource.hasTag("share") && resource.getTag("share") == "ben" };`);
    const { log } = await run("cat /secrets/shared", [{ secret: "user:41001/shared" }], curl.as(ben));
    expect(log).toBe("for ben");
    expect((await submit("true", [{ secret: "user:41001/kept" }], curl.as(ben))).status).toBe(400);
    // Set anew without labels it keeps them; with others it is not lent any more.
    await set("shared", "for ben again", curl.as(ada));
    expect(await refused()).toBe(201);
    await set("shared", "for ben again", curl.as(ada), "?label=share%3Dnobody");
    expect(await refused()).toBe(400);
    await load(null);
  });

  /** A job that a worker was given and that has not begun, while `between` happens. */
  async function startedAfter(secret: string, between: () => Promise<unknown>): Promise<Job> {
    aether.programs.worker.freeze();
    const job = JSON.parse((await submit("cat /secrets/*", [{ secret }])).body) as Job;
    await between();
    aether.programs.worker.thaw();
    return ended(job.id);
  }

  it.each([
    ["deleted", "there is no such secret", async (name: string) => void (await aether.client.secrets.delete(name))],
    [
      "set anew",
      "it has been set anew since the job was submitted",
      async (name: string) => void (await set(name, "2")),
    ],
    [
      "deleted and set to the same again",
      "it has been set anew since the job was submitted",
      async (name: string) => {
        await aether.client.secrets.delete(name);
        await set(name, "first");
      },
    ],
    [
      "forbidden",
      "there is no such secret",
      () =>
        load(
          `@id("no-secrets") @reason("none today") forbid (principal, action == Aether::Action::"use_secret", resource);`,
        ),
    ],
  ])(
    "a secret that is %s between submit and start fails the job and is not named by its value",
    async (_, why, between) => {
      await set("late", "first");
      const job = await startedAfter("late", () => between("late"));
      expect(job).toMatchObject({ state: "failed", reason: "input_missing", attempts: [] });
      expect(job.message).toBe(`secret user:0/late for /secrets/late: ${why}`);
      if (readdirSync(policies.path).length > 0) await load(null);
    },
  );

  it("the same bytes again leave a job what it was promised", async () => {
    await set("repeated", "same");
    const job = await startedAfter("repeated", () => set("repeated", "same"));
    expect(job.state).toBe("succeeded");
    expect(await list(curl)).toContainEqual(expect.objectContaining({ name: "repeated", version: 1 }));
  });

  it("an agent's job is given its person's secrets once a person has agreed to that very job", async () => {
    const asAda = curl.as(ada);
    await asAda.post("/v0/agents", { name: "scout" });
    const socket = join(aether.home, "agents", "scout", "aetherd.sock");
    await waitFor("its socket", () => existsSync(socket));
    const scout = createCurl(socket);
    await set("deploy", "adas key", asAda);
    await set("other", "adas other", asAda);
    await set("deploy", "bens key", curl.as(ben));
    expect((await scout.get("/v0/secrets")).status).toBe(403);
    expect((await scout.run("-X", "PUT", "-d", "x", urlOf("/v0/secrets/own"))).status).toBe(403);
    const deploy = (secret = "user:41001/deploy", script = "cat /secrets/*") => submit(script, [{ secret }], scout);
    for (const secret of ["deploy", "user:41002/deploy", "user:41001/none"])
      expect(problemOf(await deploy(secret)).message).toMatch(/^there is no secret/);

    /** The question that a job waits with, answered by Ada. */
    async function answer(job: Job, option: string): Promise<Job> {
      const { digest, why, preview } = JSON.parse(
        (await asAda.get(`/v0/approvals/${job.approval_id}`)).body,
      ) as Approval;
      expect([why.map(({ policy }) => policy), preview]).toMatchObject([
        ["agents-ask-for-secrets"],
        { kind: "job", secrets: job.spec.secrets.map(({ secret }) => secret) },
      ]);
      const answered = await asAda.post(`/v0/approvals/${job.approval_id}/answer`, { option, digest });
      expect([answered.status, answered.body]).toEqual([200, expect.any(String)]);
      return ended(job.id);
    }
    const waits = async (secret?: string) => {
      const job = JSON.parse((await deploy(secret)).body) as Job;
      expect(job).toMatchObject({ state: "awaiting_approval", owner: "agent:scout", attempt: 0 });
      return job;
    };
    const printed = async ({ id }: Job) => (await scout.get(`/v0/jobs/${id}/logs?format=raw`)).body;

    const once = await answer(await waits(), "allow_once");
    expect([once.state, await printed(once)]).toEqual(["succeeded", "adas key"]);
    expect((await answer(await waits(), "reject_once")).state).toBe("denied");
    const changed = await waits();
    await set("deploy", "adas new key", asAda);
    expect(await answer(changed, "allow_once")).toMatchObject({ state: "failed", reason: "input_missing" });
    // Allowed for longer it is these secrets that are allowed, and no others.
    await answer(await waits(), "allow_always");
    const again = await ended((JSON.parse((await deploy()).body) as Job).id);
    expect([again.state, await printed(again)]).toEqual(["succeeded", "adas new key"]);
    await answer(await waits("user:41001/other"), "reject_once");
  });

  it("a host gets nothing of an attempt that it does not hold, and nobody but a worker can ask", async () => {
    await set("held", "x");
    const job = JSON.parse((await submit("exec sleep 600", [{ secret: "held" }])).body) as Job;
    await waitFor("it to run", async () => (await aether.client.jobs.get(job.id)).state === "running");
    const envelope = { envelope: { request_id: createId("req") } };
    const asked = { job_id: job.id, attempt: 1, secret: "0".repeat(32), id: "user:0/held" };
    for (const host of ["worker-host-a", "worker-host-b"]) {
      await using bus = await aether.connect(host);
      await expect(request(bus, takeSecret, asked, envelope)).rejects.toMatchObject({ slug: "conflict" });
      const own = { ...envelope, bytes: Buffer.from("y") };
      await expect(request(bus, setSecret, { name: "held" }, own)).rejects.toMatchObject({ slug: "unavailable" });
    }
    await using jobs = await aether.connect("jobs");
    await expect(request(jobs, takeSecret, asked, envelope)).rejects.toMatchObject({ slug: "unavailable" });
    await aether.client.jobs.kill(job.id);
  });

  it("a start waits for a service that was killed, and a killed store loses nothing", async () => {
    await set("durable", "still here");
    const job = await startedAfter("durable", () => aether.programs.secrets.kill());
    expect(job).toMatchObject({ state: "succeeded", attempt: 1 });
    await aether.nats.restart();
    await aether.ready();
    expect((await run("cat /secrets/durable", [{ secret: "durable" }])).log).toBe("still here");
  });
});

/** A text as it is, in hexadecimal, and in base64 at each of the three places that it can begin at. */
function formsOf(text: string): string[] {
  const base64 = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), Buffer.from(text)])
      .toString("base64")
      .slice(4, -4),
  );
  const all = [text, ...base64, ...base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"))];
  return [...all, Buffer.from(text).toString("hex")];
}

function readProcess(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return ""; // it has ended
  }
}

/** Where the worker's disks are mounted. */
const sandboxDir = ({ instance }: Aether) => join("/run/aether-sandbox", instance);

/** Files that hold one of the texts, whatever else is in them; the texts travel by a pipe. */
function filesWith(texts: readonly string[], folders: readonly string[]): string[] {
  const args = [
    "--recursive",
    "--files-with-matches",
    "--text",
    "--fixed-strings",
    "--no-messages",
    "--devices=skip",
    "--exclude=*.img",
  ];
  const { stdout } = spawnSync("grep", [...args, "--file=-", ...folders], { input: texts.join("\n") });
  return stdout.toString().split("\n").filter(Boolean);
}
