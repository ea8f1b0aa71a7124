// Two users and an agent over real sockets: who is who, what an agent's sandbox reaches, and what is left when it is gone.
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Agent, Job, WhoAmI } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const small = { cpus: 0.5, memory: "64MiB", disk: "16MiB" };
const isRoot = process.getuid?.() === 0;

describe.skipIf(missing || !isRoot)(`agents${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  let asAda: Curl;
  let asBen: Curl;

  beforeAll(async () => {
    aether = await startAether({ environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } } });
    curl = createCurl(aether.socket);
    [asAda, asBen] = [curl.as(ada), curl.as(ben)];
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const bodyOf = <T>({ body }: Answer): T => JSON.parse(body) as T;
  const folderOf = (name: string) => join(aether.home, "agents", name);
  const socketOf = (name: string) => join(folderOf(name), "aetherd.sock");
  const remove = (as: Curl, name: string) => as.run("-X", "DELETE", `http://aether/v0/agents/${name}`);

  async function add(name: string, as: Curl = asAda, more: object = {}): Promise<Agent> {
    const made = await as.post("/v0/agents", { name, limits: small, ...more });
    expect([made.status, made.body]).toEqual([201, expect.any(String)]);
    await waitFor("its socket", () => existsSync(socketOf(name)));
    return bodyOf(made);
  }

  /** Runs a script as the agent and answers the job with what it printed. */
  async function runAs(name: string, script: string, as: Curl = asAda): Promise<{ job: Job; output: string[] }> {
    const spec = { command: ["sh", "-c", script], attach: { agent: name } };
    const answer = await as.post("/v0/jobs?wait=30s", spec);
    expect([answer.status, answer.body]).toEqual([201, expect.any(String)]);
    const job = bodyOf<Job>(answer);
    const { body } = await as.get(`/v0/jobs/${job.id}/logs?format=raw`);
    return { job, output: body.trimEnd().split("\n") };
  }

  it("are who their socket says, inside a sandbox in which nothing else of Aether is", async () => {
    await add("scout");
    const { job, output } = await runAs(
      "scout",
      `curl -sS --unix-socket $AETHER_SOCKET http://aether/v0/whoami; echo
       echo $AETHER_SOCKET $AETHER_AGENT $HOME; find / -xdev -type s 2>/dev/null; find / -type s 2>/dev/null; ls -a /run /run/aether; id -u`,
    );
    console.log(job.state, job.message, output);
  });
});
