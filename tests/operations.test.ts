// What holds of every route there is, whoever adds one: it is documented and shown by an example, it refuses what it does not
// know by name, and somebody without a role can neither do nor see anything by it. Nothing of all that changes anything.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createId, examples, operations, Problem, systemRoutes } from "@aether/contracts";
import { requireBackend } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, readDocumented } from "./_curl.ts";

const missing = requireBackend("nats") ?? (process.getuid?.() === 0 ? null : "other users need root");
const memberGroup = { name: "daemon", gid: 1 };
/** Whom the kernel does not name: he reaches the socket by his group and has no role. */
const nobody = { uid: 65_534, gid: memberGroup.gid };
const member = { uid: 41_001, gid: memberGroup.gid };
/** Told to whoever reaches the socket. */
const open = ["GET /v0/health", "GET /v0/whoami", "GET /v0/version", "GET /v0/openapi.json"];

/** Whether a thing is named in its path, which may be another's; a secret is made under one's own name. */
const isAboutOne = (route: string) => route.includes("{") && route !== "PUT /v0/secrets/{name}";
/** Which of the two it is, the authorisation matrix says. */
const refusals = ["urn:aether:problem:not-found", "urn:aether:problem:policy-denied"];

const documented = readDocumented();
const routed = operations.flatMap(({ name, http, access }) =>
  http ? [{ name, route: `${http.method} /v0${http.path}`, http, access }] : [],
);
const routes = [...routed.map(({ route }) => route), ...systemRoutes.map(({ method, path }) => `${method} /v0${path}`)];
const made = routed.filter(({ http }) => http.method === "POST").map(({ route }) => route);

describe("every route", () => {
  it.each(routed)("$route has an example, a chapter and an answer for what is refused", ({ name, route, access }) => {
    expect(examples[name]).toBeDefined();
    expect(documented.get(route)?.args).toBeDefined();
    expect("action" in access, "is decided by policy").toBe(true);
  });
});

describe.skipIf(missing)(`every route refuses${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  let ids: string[];
  let before: unknown;

  beforeAll(async () => {
    aether = await startAether({
      worker: false,
      environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } },
    });
    curl = createCurl(aether.socket);
    ids = await thingsOf(aether);
    before = await everything(aether);
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  /** The documented request, about things that are there. */
  const ask = (route: string, as: Curl, change = (args: string[]) => args) => {
    const args = (documented.get(route)?.args ?? []).map((word) =>
      word.replaceAll(/(job|art|mem|tok)_[0-9a-z]{26}/g, (_, type) => ids.find((id) => id.startsWith(type)) ?? ""),
    );
    return as.run(...change(args));
  };

  it.each(routes.filter((route) => !open.includes(route)))("%s to somebody without a role", async (route) => {
    expect(refusals).toContain(problemOf(await ask(route, curl.as(nobody))).type);
  });

  it.each(routes.filter(isAboutOne))("%s to a member whose thing it is not", async (route) => {
    expect(refusals).toContain(problemOf(await ask(route, curl.as(member))).type);
  });

  it.each(routes)("%s with a parameter that it does not know", async (route) => {
    const answer = await ask(route, curl, (args) =>
      args.map((word) => (word.startsWith("http://") ? `${word}${word.includes("?") ? "&" : "?"}no-such=1` : word)),
    );
    expect(problemOf(answer)).toMatchObject({
      type: "urn:aether:problem:invalid-request",
      errors: [{ path: "no-such" }],
    });
  });

  it.each(made)("%s with a field that it does not know", async (route) => {
    const answer = await ask(route, curl, (args) => {
      const body = args.indexOf("-d") + 1;
      return args.with(body, JSON.stringify({ ...JSON.parse(args[body] ?? ""), "no-such": 1 }));
    });
    const problem = problemOf(answer);
    expect(problem.type).toBe("urn:aether:problem:invalid-request");
    expect(JSON.stringify(problem.errors)).toContain("no-such");
  });

  it("and has changed nothing by all that", async () => {
    expect(await everything(aether)).toEqual(before);
  });
});

/** A job, an artifact, an entry, an agent and an event of root. */
async function thingsOf({ client, home }: Aether): Promise<string[]> {
  const path = join(home, "thing");
  writeFileSync(path, "a thing");
  const job = await client.jobs.submit({ command: ["true"] });
  const artifact = await client.artifacts.register({ path });
  const entry = await client.memory.add({ kind: "note", text: "A thing that is kept." });
  await client.agents.add({ name: "scout" });
  await client.events.emit({ specversion: "1.0", id: createId("req"), type: "com.example.thing" });
  const token = await client.tokens.create({ capabilities: [{ actions: ["read_job"] }] });
  return [job.id, artifact.id, entry.id, token.id];
}

/** What an operator sees of all there is, whosever it is. */
async function everything({ client }: Aether): Promise<unknown> {
  const events = [];
  for await (const batch of client.events.read()) events.push(...batch);
  return {
    events,
    jobs: await client.jobs.list(),
    artifacts: await client.artifacts.list(),
    entries: await client.memory.list(),
    tokens: await client.tokens.list(),
    agents: await client.agents.list(),
    others: await Promise.all(
      [nobody, member].map(({ uid }) => client.memory.list({ owner: `user:${uid}`, superseded: true })),
    ),
  };
}

function problemOf({ status, body }: Answer): Problem {
  expect(status, body).toBeGreaterThanOrEqual(400);
  const problem = Problem.parse(JSON.parse(body));
  expect(problem.status).toBe(status);
  return problem;
}
