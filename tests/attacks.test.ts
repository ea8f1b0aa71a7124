// The attacks that shaped the design, each with the tests that hold it off: a table by number, itself checked, and those that
// need the whole system and stand nowhere else.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { isTerminal, type JobSpecInput, ProblemError } from "@aether/contracts";
import { groupPath } from "@aether/sandbox";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { openWitness, readFrames, type Witness } from "./_checker.ts";

const root = join(import.meta.dirname, "..");
const here = "tests/attacks.test.ts";
const sandbox = "libs/sandbox/test";
const bus = "libs/bus/test/boundary.test.ts";
const jobs = "services/jobs/test/jobs.test.ts";
const policy = "services/policy/test";
const agents = "tests/agents.test.ts";
const artifacts = "tests/artifacts.test.ts";
const jobArtifacts = "tests/job-artifacts.test.ts";

/** By number: what the attack is, and the tests as file and name. */
const attacks: Record<number, { attack: string; tests: [file: string, name: string][] }> = {
  1: {
    attack: "two attempts of one job run at once",
    tests: [
      ["tests/faults/frozen-leases.test.ts", "frozen for longer than a lease"],
      [
        `${sandbox}/faults.test.ts`,
        "before bwrap could tie itself to it: nothing is executed, and what is left dies with the group",
      ],
      [
        "services/worker/test/warden.test.ts",
        "lets an incarnation live that renews, and ends it soon after its worker froze",
      ],
    ],
  },
  2: {
    attack: "a worker rewrites records",
    tests: [
      [jobs, "a report or a log without the attempt's secret, or out of turn, changes nothing"],
      [jobs, "a report that comes again late, or out of turn, changes nothing"],
      [bus, "no user reaches another's subjects, streams, keys or inboxes"],
    ],
  },
  3: {
    attack: "a reply subject makes a service write where the asker may not",
    tests: [
      [bus, "a request whose reply subject would be a key or a stream is refused, and nothing is written"],
      [`${policy}/decide.test.ts`, "an answer goes to nobody's stream or key (attack 3)"],
    ],
  },
  4: {
    attack: "the job's environment is code outside the sandbox",
    tests: [
      [`${sandbox}/inside.test.ts`, "runs code from the environment in the job and in nothing before it"],
      [
        `${sandbox}/inside.test.ts`,
        "shows neither environment nor launcher to other users of the host, and belongs to nobody on it",
      ],
    ],
  },
  5: {
    attack: "root follows other people's paths",
    tests: [
      [artifacts, "that the asker may not read are refused, whatever leads to them"],
      [artifacts, "are not led to by somebody's link for root"],
      [artifacts, "that are no files are never opened"],
      [artifacts, "that are swapped for links while they are asked for give away nothing"],
      [artifacts, "that hold an artifact are its reader's alone, whole, and made good when they are not"],
      [jobArtifacts, "outputs are the files that the globs name, of their types, and regular files alone"],
      [jobArtifacts, "an archive can lead nobody out of the job's disk"],
    ],
  },
  6: {
    attack: "an agent that has its owner's uid is its owner",
    tests: [
      [agents, "are who their socket says, and find nothing else of Aether"],
      [agents, "may not do what is a person's: make, see, run or remove agents, read the audit log or the metrics"],
      [agents, "are opened no file of the host by its path, although they store and read bytes"],
      [agents, "cannot be played: nobody but the sandbox comes to the socket, not the owner either"],
      ["services/gateway/test/agents.test.ts", "come and go with their agents, and who comes by one is that agent"],
      [
        `${sandbox}/residents.test.ts`,
        "have a uid of their own on the host, always the same, that no passing sandbox has",
      ],
    ],
  },
  7: {
    attack: "what fits nowhere holds up the queue, and the queue is lost",
    tests: [
      [here, "a hundred jobs that fit nowhere hold up nobody, and the queue outlives nats-server"],
      [jobs, "higher priority goes first, then the oldest, and what does not fit is passed over"],
    ],
  },
  8: {
    attack: "a full disk or a full audit log stops everything, also what would end it",
    tests: [
      [`${sandbox}/limits.test.ts`, "answers ENOSPC at the disk's size, over both folders and with unlinked files"],
      [here, "below the floor of free space submits stop, and nothing else does"],
      [
        "tests/policy-down.test.ts",
        "full: submits are 503, stop and kill still work by its reserve, and sealing makes room again (attack 8)",
      ],
      [`${policy}/decide.test.ts`, "equal denials are one record at once and one counted record a second"],
      ["apps/aetherd/test/recovery.test.ts", "starts nats-server anew when the disk has failed it a write"],
      [artifacts, "refuses what does not fit, keeps what it has, and has room again when something goes"],
    ],
  },
  9: {
    attack: "log batches are reordered, dropped as duplicates, or stored twice",
    tests: [[here, "sixteen equal logs through two deaths of nats-server: each line once, in order"]],
  },
  10: {
    attack: "an envelope is replayed, or names whom its sender may not",
    tests: [
      [bus, "a caller other than the gateway is itself, whatever its envelope says"],
      [`${policy}/decide.test.ts`, "nobody decides for others than the services that may (attack 10)"],
    ],
  },
  12: {
    attack: "the audit log forks",
    tests: [
      [
        `${policy}/audit.test.ts`,
        "an outcome that is not known is looked up: no fork, nothing twice, nobody told wrong (attack 12)",
      ],
      [`${policy}/audit.test.ts`, "a second writer takes over, the first one answers nothing more (attack 12)"],
      ["tests/policy-down.test.ts", "when somebody else wrote the audit log nothing more is decided"],
    ],
  },
  13: {
    attack: "leases trust wall clocks, and a stop breaks a renewal",
    tests: [
      ["tests/faults/clock.test.ts", "the worker's clock stepped"],
      [here, "a stop does not cost the lease: a job is given a grace longer than it"],
      [jobs, "what cannot be killed stays stopping and says so"],
    ],
  },
  14: {
    attack: "followers of jobs that never ran, or whose worker died, hang or see frames twice",
    tests: [
      [here, "a follower is given what is after its seq and an eof, also of what never ran"],
      [
        "services/jobs/test/recovery.test.ts",
        "a silent worker's starting job runs elsewhere, its running job is lost, and nothing late fits",
      ],
      ["services/gateway/test/gateway.test.ts", "follows to the end through restarts of the service, each frame once"],
    ],
  },
  15: {
    attack: "a job without retry is lost although it never ran",
    tests: [
      [
        "services/jobs/test/recovery.test.ts",
        "a silent worker's starting job runs elsewhere, its running job is lost, and nothing late fits",
      ],
      [jobs, "an attempt that failed before its release costs nothing, and the fifth time fails the job"],
      ["tests/faults/killed.test.ts", "killed"],
    ],
  },
  17: {
    attack: "everything in one root process",
    tests: [["apps/aetherd/test/aetherd.test.ts", "gives root up where root is not needed, for good"]],
  },
  18: {
    attack: "a worker reaches what is not its own over the bus",
    tests: [
      [bus, "no user reaches another's subjects, streams, keys or inboxes"],
      [jobs, "a report or a log without the attempt's secret, or out of turn, changes nothing"],
      [
        jobArtifacts,
        "a host gets and gives nothing of an attempt that it does not hold, nor anything by other operations",
      ],
    ],
  },
  19: {
    attack: "decisions that are counted or remembered are never recorded",
    tests: [
      [`${policy}/audit.test.ts`, "status reads are refused while the last counts are not stored (attack 19)"],
      [`${policy}/audit.test.ts`, "a writer says how the one before it ended (attack 19)"],
      [`${policy}/decide.test.ts`, "only status reads are counted, whatever the caller says"],
    ],
  },
  20: {
    attack: "another's Idempotency-Key, and reads that lag behind writes",
    tests: [
      [jobs, "an Idempotency-Key makes one job, is bound to its body, and is asked anew of policy"],
      [here, "what was just accepted is there for everybody who asks, at once"],
    ],
  },
  22: {
    attack: "jobs share a uid, or inherit a descriptor",
    tests: [
      [here, "jobs that run at once have uids of their own"],
      [`${sandbox}/isolation.test.ts`, "cannot starve each other"],
      [`${sandbox}/inside.test.ts`, "inherits no descriptor"],
    ],
  },
  23: {
    attack: "a disk quota that counts files",
    tests: [
      [`${sandbox}/limits.test.ts`, "answers ENOSPC at the disk's size, over both folders and with unlinked files"],
    ],
  },
  24: {
    attack: "events are lost, and forged",
    tests: [
      [
        "services/events/test/derived.test.ts",
        "no state change is without its event, and none has two, across SIGKILLs of the service",
      ],
      [
        "services/events/test/events.test.ts",
        "cannot be forged, and cannot take the place of the system's or of another user's (attack 24)",
      ],
    ],
  },
  25: {
    attack: "root of a container, or a user without a number, is taken for somebody",
    tests: [
      [agents, "that are nobody have no rights, are refused by policy, and are on record"],
      [
        "services/gateway/src/principal.test.ts",
        "gives nobody outside of the domain a role, nor the overflow uid inside it",
      ],
      ["libs/service/src/people.test.ts", "hold whoever is somebody, never the overflow uid"],
    ],
  },
};

/** The first text given to `it` or to a `describe` of any kind, up to what is put into it. */
const title = /\b(?:it|describe)\w*[^"'`;]*?\(\s*(["'`])((?:(?!\1|\$\{)[^\n])*)/g;

describe("the table of attacks", () => {
  for (const [number, { attack, tests }] of Object.entries(attacks)) {
    it(`${number}, ${attack}: is tested where the table says`, () => {
      expect(tests.length).toBeGreaterThan(0);
      for (const [file, name] of tests) {
        const calls = readFileSync(join(root, file), "utf8").matchAll(title);
        expect(
          [...calls].map(([, , text]) => text),
          `${file} has such a test`,
        ).toContain(name);
      }
    });
  }
});

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const small = { cpus: 0.5, memory: "64MiB" };
const shell = (text: string): JobSpecInput => ({ command: ["sh", "-c", text], resources: small });

describe.skipIf(missing)(`attacks on the whole system${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let witness: Witness;
  beforeAll(async () => {
    aether = await startAether({ secondJobs: true });
    witness = await openWitness(aether);
  }, 60_000);
  afterAll(async () => {
    await witness[Symbol.asyncDispose]();
    await aether[Symbol.asyncDispose]();
  });
  const over = (id: string) =>
    waitFor(`${id} to be over`, () => isTerminal(witness.job(id)?.state ?? "queued"), 20_000);
  const submit = async (spec: JobSpecInput) => (await aether.client.jobs.submit(spec)).id;

  it("sixteen equal logs through two deaths of nats-server: each line once, in order", async () => {
    const count = 2_000;
    const pause = "[ $((n%100)) = 0 ] && sleep 0.1";
    const spec = shell(`n=0; while [ $n -lt ${count} ]; do n=$((n+1)); echo "line $n"; ${pause}; done; exit 0`);
    const ids = await Promise.all(Array.from({ length: 16 }, () => submit(spec)));
    for (let deaths = 0; deaths < 2; deaths++) {
      await waitFor("several to write", () => witness.executing().length >= 4);
      await aether.nats.restart();
      await aether.ready();
    }
    const lines = Array.from({ length: count }, (_, n) => `line ${n + 1}`);
    for (const id of ids) {
      await over(id);
      const frames = await readFrames(aether, id);
      expect(frames.flatMap((frame) => ("data" in frame ? frame.data : []))).toEqual(lines);
      expect(frames.at(-1)).toMatchObject({ type: "eof", last_seq: count, state: "succeeded" });
    }
    expect(witness.faults).toEqual([]);
  }, 60_000);

  it("a follower is given what is after its seq and an eof, also of what never ran", async () => {
    const { client } = aether;
    const written = await submit(shell("echo one; echo two; echo three"));
    await over(written);
    const read = async (id: string, options: object) => {
      const frames = [];
      for await (const frame of client.jobs.logs(id, { follow: true, ...options })) frames.push(frame);
      return frames.map((frame) => ("seq" in frame ? frame.seq : "type" in frame && frame.type));
    };
    expect(await read(written, { after: 1 })).toEqual([2, 3, "eof"]);
    expect(await read(written, { after: 3 })).toEqual(["eof"]);
    expect(await read(written, { after: 1_000 })).toEqual(["eof"]);
    expect(await read(written, { tail: 1 })).toEqual([3, "eof"]);
    const expired = await submit({ ...shell("echo never"), pool: "nobody", queue_timeout: "1s" });
    const killed = await submit({ ...shell("echo never"), pool: "nobody" });
    const follows = [expired, killed].map((id) => read(id, {}));
    await client.jobs.kill(killed);
    expect(await Promise.all(follows)).toEqual([["eof"], ["eof"]]);
    expect([witness.job(expired)?.state, witness.job(killed)?.state]).toEqual(["expired", "killed"]);
  });

  it("what was just accepted is there for everybody who asks, at once", async () => {
    const { client } = aether;
    for (let n = 0; n < 20; n++) {
      const { id, revision } = await client.jobs.submit({ ...shell("true"), pool: "nobody" });
      const [read, listed] = await Promise.all([client.jobs.get(id), client.jobs.list({ min_revision: revision })]);
      expect(read).toMatchObject({ id, state: "queued" });
      expect(listed.items.map((job) => job.id)).toContain(id);
      expect(await client.jobs.kill(id)).toMatchObject({ id, state: "killed" });
    }
  });

  it("jobs that run at once have uids of their own", async () => {
    const ids = await Promise.all(Array.from({ length: 4 }, () => submit(shell("sleep 100"))));
    for (const id of ids) await waitFor(`${id} to run`, () => witness.executing().includes(`${id}-1`));
    const top = dirname(groupPath({ instance: aether.instance, incarnation: "any" }));
    const uids = ids.map((id) => {
      const groups = readdirSync(top).map((incarnation) => join(top, incarnation, `${id}-1`, "cgroup.procs"));
      const pids = groups.filter(existsSync).flatMap((file) => readFileSync(file, "utf8").split("\n").filter(Boolean));
      return [...new Set(pids.map((pid) => statSync(`/proc/${pid}`).uid))].filter((uid) => uid !== 0);
    });
    expect(uids.flat()).toHaveLength(ids.length);
    expect(new Set(uids.flat()).size).toBe(ids.length);
    const assigned = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .map((line) => Number(line.split(":")[2]));
    for (const uid of uids.flat()) expect(assigned).not.toContain(uid);
    for (const id of ids) await aether.client.jobs.kill(id);
    for (const id of ids) await over(id);
  });

  it("a stop does not cost the lease: a job is given a grace longer than it", async () => {
    const id = await submit(shell("trap 'sleep 11; echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"));
    await waitFor("it to run", () => witness.executing().includes(`${id}-1`));
    await aether.client.jobs.stop(id, { grace: "30s" });
    await over(id);
    expect(witness.job(id)).toMatchObject({ state: "stopped", reason: "requested", exit_code: 7, attempt: 1 });
    const frames = await readFrames(aether, id);
    expect(frames.flatMap((frame) => ("data" in frame ? frame.data : []))).toEqual(["up", "bye"]);
  }, 40_000);

  it("a hundred jobs that fit nowhere hold up nobody, and the queue outlives nats-server", async () => {
    const giant = { ...shell("true"), resources: { cpus: 500, memory: "64MiB" } };
    const giants = await Promise.all(Array.from({ length: 100 }, () => submit(giant)));
    const first = await Promise.all(Array.from({ length: 5 }, () => submit(shell("true"))));
    for (const id of first) await over(id);
    const waiting = await submit({ ...shell("true"), resources: { cpus: 8, memory: "64MiB" } });
    await aether.nats.restart();
    await aether.ready();
    await over(waiting);
    await over(await waitFor("a submit", () => submit(shell("true"))));
    expect(new Set(giants.map((id) => witness.job(id)?.state))).toEqual(new Set(["queued"]));
    expect(witness.faults).toEqual([]);
  }, 60_000);
});

describe.skipIf(missing)(`a full disk${missing ? `: ${missing}` : ""}`, () => {
  it("below the floor of free space submits stop, and nothing else does", async () => {
    const floor = { AETHER_JOBS_STORE_DIR: root, AETHER_JOBS_FREE_FLOOR_BYTES: String(Number.MAX_SAFE_INTEGER) };
    await using full = await startAether({ worker: false, environment: { jobs: floor } });
    const refused = await full.client.jobs.submit(shell("true")).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ProblemError);
    expect(refused).toMatchObject({ slug: "storage-full", problem: { status: 503, retry_after_ms: 5_000 } });
    expect((await full.client.jobs.list()).items).toEqual([]);
    expect((await full.client.health()).services.find(({ name }) => name === "jobs")?.degraded).not.toEqual([]);
  });
});
