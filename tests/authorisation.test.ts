// Every cell of docs/api/authorisation.md over real sockets: three users and an agent send the documented request, about a thing of
// their own and about somebody else's, and get the answer that the page says.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import {
  addAgent,
  addEntry,
  answerApproval,
  commitUpload,
  createId,
  createToken,
  type DecideRequest,
  decide,
  getApproval,
  listAudit,
  type Principal,
  Problem,
  principalName,
  type ResourceType,
  sendChunk,
  setSecret,
  submitJob,
  uploadArtifact,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toQuestion } from "../services/policy/test/_approvals.ts";
import {
  authorisationMatrix,
  type Cell,
  callers,
  type Role,
  type Row,
  roles,
  somebodyElse,
} from "../tools/authorisation.ts";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, readDocumented } from "./_curl.ts";

const missing = requireBackend("nats") ?? (process.getuid?.() === 0 ? null : "other users need root");
const memberGroup = { name: "daemon", gid: 1 };
const rows = authorisationMatrix();
const documented = readDocumented();
/** A list of things is of everybody's for those who may read everybody's, which operators do. */
const isList = ({ own }: Row) => own.operator.everybody;
const words = ({ outcome, everybody }: Cell) => (everybody ? "allow all" : outcome);

/** The callers with the numbers that the kernel tells of them. */
const principals: Record<Role, Principal> = {
  operator: { ...callers.operator, roles: ["operator"], uid: 0, gid: 0 },
  member: { ...callers.member, roles: ["member"], uid: 41_001, gid: memberGroup.gid },
  agent: { ...callers.agent, roles: ["agent"], uid: 61_001, gid: 61_001 },
  nobody: { ...callers.nobody, roles: [], uid: 65_534, gid: memberGroup.gid },
};
const ben: Principal = { type: "User", id: "41002", roles: ["member"], uid: 41_002, gid: memberGroup.gid };

describe.skipIf(missing)(`authorisation${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let gateway: Bus;
  let jobs: Bus;
  let curls: Record<Role, Curl>;
  /** Somebody else and ids of what is theirs: in a list of one's own none of them stands. */
  let theirs: string[];

  beforeAll(async () => {
    aether = await startAether({ worker: false, environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } } });
    [gateway, jobs] = [await aether.connect("gateway"), await aether.connect("jobs")];
    await as(principals.member).add(callers.agent.id);
    const agentSocket = join(aether.home, "agents", callers.agent.id, "aetherd.sock");
    await waitFor("the agent's socket", () => existsSync(agentSocket));
    const curl = createCurl(aether.socket);
    const numbers = ({ uid = 0, gid = 0 }: Principal) => ({ uid, gid });
    curls = {
      operator: curl,
      member: curl.as(numbers(principals.member)),
      agent: createCurl(agentSocket),
      nobody: curl.as(numbers(principals.nobody)),
    };
    const types = ["Job", "Artifact", "MemoryEntry", "Token", "Approval", "Grant", "AgentRecord"] as const;
    theirs = [somebodyElse, ...(await Promise.all(types.map((type) => makeThing(type, ben))))];
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await jobs[Symbol.asyncDispose]();
    await aether[Symbol.asyncDispose]();
  });

  let made = 0;
  const large = { cpus_milli: 4000, memory_bytes: 2 ** 20, timeout_ms: 1000, network: "none" };

  /** Makes things in somebody's name; who has no role had one when he made them. */
  const as = (owner: Principal) => {
    const principal: Principal = owner.roles.length > 0 ? owner : { ...owner, roles: ["member"] };
    const envelope = () => ({ envelope: { request_id: createId("req"), principal } });
    /** A question to a person: an agent's own, or of an agent that works for him; each about something else. */
    const question = async () => {
      const works = {
        type: "Agent",
        id: `asker-${++made}`,
        roles: ["agent"],
        owner: principalName(principal),
      } as const;
      const asker: Principal = principal.type === "Agent" ? principal : { ...works, roles: ["agent"], uid: 61_002 };
      const start = toQuestion({ principal: asker, what: `job ${made}`, context: { ...large, pool: `pool-${made}` } });
      const { outcome, approval_id } = await askPolicy(start);
      expect(outcome).toBe("ask");
      return approval_id ?? "";
    };
    return {
      add: async (name: string) => (await request(gateway, addAgent, { name }, envelope())).reply.name,
      Job: async () => (await request(gateway, submitJob, { command: ["true"] }, envelope())).reply.id,
      async Artifact() {
        const { transfer } = (await request(gateway, uploadArtifact, { name: "thing" }, envelope())).reply;
        await request(gateway, sendChunk, { transfer, index: 0 }, { ...envelope(), bytes: Buffer.from("thing") });
        return (await request(gateway, commitUpload, { transfer }, envelope())).reply.id;
      },
      MemoryEntry: async () =>
        (
          await request(
            gateway,
            addEntry,
            { kind: "note", text: `Thing ${++made}: Ada says the backup disk is here.` },
            envelope(),
          )
        ).reply.id,
      async Token() {
        const wanted = { capabilities: [{ actions: ["read_job" as const] }], bind: { uid: 1 } };
        return (await request(gateway, createToken, wanted, envelope())).reply.id;
      },
      async Secret() {
        const name = `thing-${++made}`;
        if (principal.type === "Agent") return name; // who never has one
        await request(gateway, setSecret, { name }, { ...envelope(), bytes: Buffer.from("a value") });
        return name;
      },
      Quota: async () => principalName(principal),
      Approval: question,
      async Grant() {
        const id = await question();
        const operator = { envelope: { request_id: createId("req"), principal: principals.operator } };
        const { digest } = (await request(gateway, getApproval, { id }, operator)).reply;
        const answer = { id, digest, option: "allow_always" as const };
        return (await request(gateway, answerApproval, answer, operator)).reply.grant_id ?? "";
      },
    };
  };

  async function askPolicy(fields: Partial<DecideRequest>) {
    const unset = {
      context: {},
      record: "before",
      request_id: createId("req"),
      intent_id: null,
      job_id: null,
    } as const;
    const asked = { ...unset, digest: null, ...fields } as DecideRequest;
    return (await request(jobs, decide, asked, { envelope: { request_id: createId("req") } })).reply;
  }

  async function anyRecord(): Promise<string> {
    const operator = { envelope: { request_id: createId("req"), principal: principals.operator } };
    return (await request(gateway, listAudit, { limit: 1 }, operator)).reply.items[0]?.id ?? "";
  }

  /** Something of this type that belongs to him, by its id or its name. */
  async function makeThing(type: ResourceType, owner: Principal): Promise<string> {
    const maker = as(owner);
    if (type === "AgentRecord") return owner.type === "Agent" ? owner.id : maker.add(`thing-${++made}`);
    if (type === "Audit") return anyRecord();
    if (type in maker) return maker[type as Exclude<keyof typeof maker, "add">]();
    throw new Error(`how to make a ${type} has to be said here`);
  }

  /** The answer to the documented request of a route. */
  async function send(row: Row & { route: string }, role: Role, thing: string | null): Promise<string> {
    const { route } = row;
    const args = (documented.get(route)?.args ?? []).map((word) => {
      if (!word.startsWith("http://")) return word;
      const query = word.includes("?") ? new URLSearchParams(word.slice(word.indexOf("?"))) : new URLSearchParams();
      for (const name of ["wait", "follow"]) query.delete(name); // nothing here ever ends
      if (isList(row)) for (const name of [...query.keys()]) if (name !== "q") query.delete(name);
      // Memory is listed of one owner at a time, whom only he names who may read everybody's.
      if (isList(row) && row.type === "Memory" && row.own[role].everybody) query.set("owner", somebodyElse);
      if (route === "GET /v0/quota" && row.own[role].everybody) query.set("principal", somebodyElse);
      const path = route.slice(route.indexOf(" ") + 1).replace(/\{\w+\}/, thing ?? "");
      return `http://aether${path}${query.size > 0 ? `?${query}` : ""}`;
    });
    const answer = await curls[role].run(...args);
    const isAll = isList(row) && answer.status === 200 && theirs.some((id) => answer.body.includes(id));
    return isAll ? "allow all" : toOutcome(answer);
  }

  async function judge(row: Row, role: Role, whose: "own" | "others"): Promise<string> {
    const owner = whose === "own" ? principals[role] : ben;
    if (row.route !== null) {
      return send(
        { ...row, route: row.route },
        role,
        row.route.includes("{") ? await makeThing(row.type, owner) : null,
      );
    }
    const principal = principals[role];
    const { action, type, context } = row;
    const { resource, ...start } = toQuestion({ principal, what: `${row.name} of ${role}` });
    const named = { type, id: "*", owner: whose === "others" ? somebodyElse : (resource?.owner ?? null), labels: {} };
    const asked = action === "start_job" ? { ...start, resource, context } : { principal, action, resource: named };
    const { outcome, visible } = await askPolicy(asked as Partial<DecideRequest>);
    return outcome === "deny" && !visible ? "hidden" : outcome;
  }

  it.each(rows.map((row) => [row.route ?? row.name, row] as const))("%s", async (_name, row) => {
    for (const whose of ["own", "others"] as const) {
      const cells = row[whose];
      // A secret is looked for among the caller's own: no request can be about another's.
      if (!cells || (whose === "others" && row.type === "Secret")) continue;
      const said: Record<string, string> = {};
      for (const role of roles) said[role] = await judge(row, role, whose);
      expect({ whose, ...said }).toEqual({
        whose,
        ...Object.fromEntries(roles.map((role) => [role, words(cells[role])])),
      });
    }
  });
});

/** What an answer says about policy: what the state or a file forbids is past it, as success is; the rest is told as it is. */
function toOutcome({ status, body }: Answer): Cell["outcome"] | string {
  if (status < 400) return "allow";
  const problem = Problem.parse(JSON.parse(body));
  const slug = problem.type.split(":").at(-1);
  if (slug === "conflict" || slug === "file-refused") return "allow";
  if (slug === "not-found") return "hidden";
  if (slug === "policy-denied") return problem.decision?.outcome === "ask" ? "ask" : "deny";
  return `${status} ${problem.detail}`;
}
