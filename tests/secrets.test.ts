// Secrets of jobs through the whole system: the file that a job finds, whose secrets it may be given, and everything that a value
// must not be found in.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openBucket, request } from "@aether/bus";
import { createId, isTerminal, type Job, type JobSpecInput, type Secret, takeSecret } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type Aether, startAether } from "./_aether.ts";
import { type Curl, createCurl, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const small = { resources: { cpus: 0.5, memory: "64MiB" } };

describe.skipIf(missing)(`secrets of jobs${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  beforeAll(async () => {
    aether = await startAether({
      supervised: true,
      environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } },
    });
    curl = createCurl(aether.socket);
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const set = (name: string, value: string, as: Curl = curl, query = "") =>
    as.run("-X", "PUT", "--data-binary", value, urlOf(`/v0/secrets/${name}${query}`));
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
  const problemOf = (answer: { body: string }) => JSON.parse(answer.body) as { type: string; detail: string };

  it("a job finds a secret as a file of its own, which is in memory and no other's", async () => {
    expect((await set("db-password", "correct horse")).status).toBe(200);
    const { job, log } = await run(
      [
        "cat /secrets/db-password; echo",
        "stat -c '%a %u %F' /secrets/db-password; stat -c %a /secrets",
        "stat -f -c %T /secrets/db-password",
        "echo x 2>/dev/null >/secrets/db-password || chmod 600 /secrets/db-password 2>/dev/null || rm -f /secrets/* 2>/dev/null || echo kept",
        "env | grep -c horse; ls /proc/self/fd | wc -l",
      ].join("\n"),
      [{ secret: "db-password" }],
    );
    expect(job).toMatchObject({ state: "succeeded", reason: null });
    expect(job.spec.secrets).toEqual([{ secret: "user:0/db-password", path: "/secrets/db-password" }]);
    expect(log.split("\n").slice(0, 6)).toEqual([
      "correct horse",
      "400 1000 regular file",
      "500",
      "tmpfs",
      "kept",
      "0",
    ]);
  });
});
