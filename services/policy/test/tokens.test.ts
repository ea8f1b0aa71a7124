// Capability tokens on a real nats-server: what they narrow, whom they count for, and what ends them.
import { createHmac, createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Bus, lastMessage, request } from "@aether/bus";
import {
  type Capability,
  checkPolicy,
  createId,
  createToken,
  getToken,
  limits,
  listAudit,
  listTokens,
  type Principal,
  ProblemError,
  revokeToken,
} from "@aether/contracts";
import { requireBackend } from "@aether/testkit";
import { decodeJwt, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import type { startPolicy } from "../src/index.ts";
import { ask, member, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

const missing = requireBackend("nats");
describe.skipIf(missing)(`capability tokens${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let policy: Awaited<ReturnType<typeof startPolicy>>;
  let jobs: Bus;
  let gateway: Bus;

  beforeAll(async () => {
    room = await openRoom();
    policy = await room.start();
    jobs = await room.nats.connect("jobs");
    gateway = await room.nats.connect("gateway");
  });
  afterAll(async () => {
    await jobs[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
  });

  const agent: Principal = { type: "Agent", id: "aurora", roles: ["agent"], owner: "user:1000", uid: 1000 };
  const envelope = (principal: Principal, token?: string, key?: string) => ({
    ...{ request_id: createId("req"), principal },
    ...(token !== undefined && { token }),
    ...(key !== undefined && { idempotency_key: key }),
  });
  type Wanted = Partial<z.input<typeof createToken.request>>;
  const mint = async (wanted: Wanted = {}, by: Principal = member, token?: string, key?: string) => {
    const input = { capabilities: [{ actions: ["read_job" as const] }], ...wanted };
    return (await request(gateway, createToken, input, { envelope: envelope(by, token, key) })).reply;
  };
  const revoke = async (id: string, by: Principal = member, token?: string) =>
    (await request(gateway, revokeToken, { id }, { envelope: envelope(by, token) })).reply;
  const job = (owner = "user:1000") => ({ type: "Job" as const, id: createId("job"), owner, labels: {} });
  /** What policy says about reading a job of the member's, to whoever comes with this token. */
  const read = async (token: string, principal: Principal = member, resource = job()) =>
    ask(jobs, { principal, action: "read_job", resource, token });
  const refusal = (error: unknown) => {
    if (!(error instanceof ProblemError)) throw error;
    return `${error.slug}: ${error.problem.detail}`;
  };

  describe("narrow", () => {
    it("to the actions that they name", async () => {
      const { token } = await mint();
      expect((await read(token)).outcome).toBe("allow");
      const killed = await ask(jobs, { action: "kill_job", resource: job(), token });
      expect(killed).toMatchObject({ outcome: "deny", visible: true });
      expect(killed.reason).toMatch(/^the token tok_\w+ does not allow kill_job/);
    });

    it("to the thing that they name, and lists hold it not even once", async () => {
      const one = job();
      const { token } = await mint({ capabilities: [{ actions: ["read_job", "list_jobs"], id: one.id }] });
      expect((await read(token, member, one)).outcome).toBe("allow");
      expect((await read(token)).outcome).toBe("deny");
      const collection = { type: "Jobs" as const, id: "*", owner: "user:1000", labels: {} };
      expect((await ask(jobs, { action: "list_jobs", resource: collection, token })).outcome).toBe("deny");
    });

    it("an operator's list to whom they name", async () => {
      const collection = { type: "Jobs" as const, id: "*", owner: "user:0", labels: {} };
      const list = async (capabilities: Capability[]) => {
        const { token } = await mint({ capabilities }, operator);
        const { outcome, scope } = await ask(jobs, {
          principal: operator,
          action: "list_jobs",
          resource: collection,
          token,
        });
        return `${outcome} ${scope}`;
      };
      expect(await list([{ actions: ["list_jobs", "read_job"] }])).toBe("allow all");
      expect(await list([{ actions: ["list_jobs", "read_job"], owner: "user:0" }])).toBe("allow own");
      expect(await list([{ actions: ["list_jobs"] }])).toBe("deny own");
    });

    it("and never add: what policies deny stays denied", async () => {
      const capabilities = [{ actions: ["read_job" as const, "read_audit" as const] }];
      const { token } = await mint({ capabilities });
      expect(await read(token, member, job("user:1001"))).toMatchObject({ outcome: "deny", visible: false });
      const audit = { type: "Audit" as const, id: "*", owner: "user:1000", labels: {} };
      const listed = await request(gateway, listAudit, {}, { envelope: envelope(member, token) }).catch(refusal);
      expect([audit.type, listed]).toEqual(["Audit", "policy-denied: the audit log is for operators"]);
    });

    it("a question about what would be allowed, too", async () => {
      const { token } = await mint({ capabilities: [{ actions: ["check_policy", "read_job"] }] });
      const check = async (action: "read_job" | "kill_job") =>
        (await request(gateway, checkPolicy, { action }, { envelope: envelope(member, token) })).reply.decision;
      expect([await check("read_job"), await check("kill_job")]).toEqual(["allow", "deny"]);
    });

    it("and stand in the record by their id alone", async () => {
      const { id, token } = await mint();
      const { decision_id } = await ask(jobs, { action: "start_job", resource: job(), token, context: { attempt: 1 } });
      const records = await storedRecords(room.nats);
      expect(records.find((record) => record.id === decision_id)?.decision).toMatchObject({
        outcome: "deny",
        token: id,
      });
      expect(JSON.stringify(records)).not.toContain(token.split(".")[2]);
    });
  });

  describe("count for nobody else", () => {
    it.each([
      ["another uid", { ...member, id: "1001", uid: 1001 }],
      ["an agent of the same uid", agent],
      ["an operator", operator],
    ] as [string, Principal][])("than whom they are bound to: %s", async (_, principal) => {
      const { token } = await mint();
      expect(await read(token, principal).catch(refusal)).toBe("token-refused: it is bound to somebody else");
    });

    it("than the agent whose socket they are bound to", async () => {
      const { token } = await mint({ bind: { agent: "aurora" } });
      const said = async (principal: Principal) => read(token, principal).then(({ outcome }) => outcome, refusal);
      expect(await said(agent)).toBe("deny"); // a member's job is not the agent's, with or without a token
      expect(await said({ ...agent, id: "borealis" })).toBe("token-refused: it is bound to somebody else");
      expect(await said(member)).toBe("token-refused: it is bound to somebody else");
      expect(await mint({}, agent)).toMatchObject({ owner: "agent:aurora", bind: { agent: "aurora" } });
    });
  });

  describe("are refused", () => {
    const key = () => readFileSync(join(room.config().AETHER_POLICY_DATA_DIR, "tokens.key"));
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const parts = (token: string) => {
      const [head = "", body = "", signature = ""] = token.split(".");
      return { head, body, signature, claims: decodeJwt(token) };
    };

    it.each([
      ["without a signature", ({ body }) => `${encode({ alg: "none", typ: "aether-cap+jwt" })}.${body}.`],
      ["with alg none and a signature", ({ body, signature }) => `${encode({ alg: "none" })}.${body}.${signature}`],
      [
        "signed by HS256 with the public key",
        ({ body }) => {
          const text = `${encode({ alg: "HS256", typ: "aether-cap+jwt" })}.${body}`;
          const pem = createPublicKey(key()).export({ type: "spki", format: "pem" });
          return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
        },
      ],
      [
        "with words changed",
        ({ head, claims, signature }) =>
          `${head}.${encode({ ...claims, cap: [{ actions: ["read_audit"] }] })}.${signature}`,
      ],
      ["cut", ({ head, body }) => `${head}.${body}`],
      ["with something behind", ({ head, body, signature }) => `${head}.${body}.${signature}.${signature}`],
      ["that are garbage", () => "garbage"],
      ["that are huge", () => `${"x".repeat(limits.tokenChars)}`],
      ["that are empty", () => ""],
    ] as [string, (of: ReturnType<typeof parts>) => string][])("%s", async (_, forge) => {
      const { token } = await mint();
      expect(await read(forge(parts(token))).catch(refusal)).toBe(
        "token-refused: it is not a token of this installation",
      );
    });

    it("that another key signed, whatever header they bring", async () => {
      const { token } = await mint();
      const { privateKey, publicKey } = generateKeyPairSync("ed25519");
      const { claims } = parts(token);
      for (const more of [{}, { jwk: publicKey.export({ format: "jwk" }) }, { kid: "../../../dev/null" }]) {
        const header = { alg: "EdDSA", typ: "aether-cap+jwt", ...more };
        const forged = await new SignJWT(claims).setProtectedHeader(header as { alg: string }).sign(privateKey);
        expect(await read(forged).catch(refusal)).toBe("token-refused: it is not a token of this installation");
      }
    });

    it("of another kind or audience, though this installation's key signed them", async () => {
      const { token } = await mint();
      const { claims } = parts(token);
      const { createPrivateKey } = await import("node:crypto");
      const sign = (typ: string, more: object) =>
        new SignJWT({ ...claims, ...more }).setProtectedHeader({ alg: "EdDSA", typ }).sign(createPrivateKey(key()));
      expect((await read(await sign("aether-cap+jwt", {}))).outcome).toBe("allow");
      for (const forged of [
        await sign("JWT", {}),
        await sign("aether-cap+jwt", { aud: "elsewhere" }),
        await sign("aether-cap+jwt", { exp: undefined }),
        await sign("aether-cap+jwt", { cnf: {} }),
        await sign("aether-cap+jwt", { jti: "../tok" }),
      ]) {
        expect(await read(forged).catch(refusal)).toBe("token-refused: it is not a token of this installation");
      }
    });

    it("when their time is up", async () => {
      const { token, expires_at } = await mint({ ttl: "2s" });
      await expect
        .poll(() => read(token).then(({ outcome }) => outcome, refusal), { timeout: 5000 })
        .toBe("token-refused: it has expired");
      expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expires_at));
    });

    it("and the refusal is in the log", async () => {
      const { token } = await mint({}, { ...member, id: "4001", uid: 4001 });
      await read(token, { ...member, id: "4002", uid: 4002 }).catch(refusal);
      const record = (await storedRecords(room.nats)).find(({ actor }) => actor.id === "4002");
      expect(record?.decision).toMatchObject({
        outcome: "deny",
        reason: "the capability token does not count: it is bound to somebody else",
      });
    });

    it("their key is policy's alone", () => {
      expect(statSync(join(room.config().AETHER_POLICY_DATA_DIR, "tokens.key")).mode & 0o777).toBe(0o600);
    });
  });

  describe("made with another", () => {
    const handing = { actions: ["read_job" as const, "kill_job" as const, "create_token" as const] };

    it("are at most as wide, and end with it", async () => {
      const parent = await mint({ capabilities: [{ ...handing, owner: "user:1000" }], ttl: "1m" });
      const capabilities: Capability[] = [{ actions: ["read_job"], owner: "user:1000" }];
      const child = await mint({ capabilities, ttl: "15m" }, member, parent.token);
      expect(child).toMatchObject({ capabilities, chain: [parent.id], expires_at: parent.expires_at });
      expect((await read(child.token)).outcome).toBe("allow");
      for (const wide of [
        [{ actions: ["read_job"] }],
        [{ actions: ["read_job"], owner: "user:1001" }],
        [
          { actions: ["read_job"], owner: "user:1000" },
          { actions: ["read_audit"], owner: "user:1000" },
        ],
      ] as Capability[][]) {
        expect(await mint({ capabilities: wide }, member, parent.token).catch(refusal)).toMatch(
          /^policy-denied: the token of this call does not allow so much of read_/,
        );
      }
      expect(await mint({ capabilities }, member, child.token).catch(refusal)).toMatch(/^policy-denied: the token/);
      const denied = (await storedRecords(room.nats)).filter(({ decision }) => decision?.reason.includes("so much of"));
      expect(denied[0]).toMatchObject({ action: "create_token", actor: { id: "1000", via: "gateway" } });
    });

    it("end when one that they were made with is revoked, and not when a child is", async () => {
      const grandparent = await mint({ capabilities: [handing] });
      const parent = await mint({ capabilities: [handing] }, member, grandparent.token);
      const child = await mint({ capabilities: [{ actions: ["read_job"] }] }, member, parent.token);
      const sibling = await mint({ capabilities: [{ actions: ["read_job"] }] }, member, grandparent.token);
      expect((await read(child.token)).outcome).toBe("allow");
      await revoke(parent.id);
      expect(await read(parent.token).catch(refusal)).toBe("token-refused: it was revoked");
      expect(await read(child.token).catch(refusal)).toBe(
        `token-refused: ${parent.id}, which it was made with, was revoked`,
      );
      expect(await mint({}, member, parent.token).catch(refusal)).toBe("token-refused: it was revoked");
      expect((await read(sibling.token)).outcome).toBe("allow");
      expect((await read(grandparent.token)).outcome).toBe("allow");
    });

    it("are handed on a limited number of times", async () => {
      let last = await mint({ capabilities: [handing] });
      for (let n = 0; n < limits.tokenChain; n++) last = await mint({ capabilities: [handing] }, member, last.token);
      expect(last.chain).toHaveLength(limits.tokenChain);
      expect(await mint({ capabilities: [handing] }, member, last.token).catch(refusal)).toMatch(/^invalid-request: /);
    });
  });

  it("are listed and read by whom they belong to, and never shown again", async () => {
    const eve: Principal = { ...member, id: "5001", uid: 5001 };
    const { token, ...made } = await mint({}, eve);
    const list = async (by: Principal, limit = 500) =>
      (await request(gateway, listTokens, { limit }, { envelope: envelope(by) })).reply;
    expect((await list(eve)).items).toEqual([made]);
    expect((await list(operator)).items).toContainEqual(made);
    expect((await list(member)).items).not.toContainEqual(made);
    const get = async (by: Principal) =>
      (await request(gateway, getToken, { id: made.id }, { envelope: envelope(by) })).reply;
    expect(await get(eve)).toEqual(made);
    expect(await get(member).catch(refusal)).toMatch(/^not-found/);
    expect(await revoke(made.id, member).catch(refusal)).toMatch(/^not-found/);
    expect(await revoke(made.id, operator).catch(refusal)).toMatch(/^policy-denied/);
    const newest = await mint({}, eve);
    const first = await list(eve, 1);
    expect([first.items[0]?.id, first.next_cursor]).toEqual([newest.id, newest.id]);
  });

  it("are not given twice for one key", async () => {
    const key = createId("req");
    const first = await mint({}, member, undefined, key);
    expect(await mint({}, member, undefined, key).catch(refusal)).toBe(
      "idempotency-conflict: its answer is a secret, which is not given again",
    );
    expect((await read(first.token)).outcome).toBe("allow");
    const refused = createId("req");
    const wide: Capability[] = [{ actions: ["read_audit"] }];
    const handing = await mint({ capabilities: [{ actions: ["create_token"] }] });
    expect(await mint({ capabilities: wide }, member, handing.token, refused).catch(refusal)).toMatch(/^policy-denied/);
    expect((await mint({}, member, undefined, createId("req"))).id).toMatch(/^tok_/);
  });

  it("are at most a hundred for each", async () => {
    const many: Principal = { ...member, id: "6001", uid: 6001 };
    const made = await Promise.all(Array.from({ length: 120 }, () => mint({}, many).then(() => "made", refusal)));
    expect(made.filter((what) => what === "made")).toHaveLength(limits.tokensPerPrincipal);
    expect(new Set(made.filter((what) => what !== "made"))).toEqual(
      new Set(["too-many-requests: user:6001 has 100 tokens that have not expired yet"]),
    );
  });

  it("count and stay revoked when policy has started again", async () => {
    const [kept, gone] = [await mint(), await mint()];
    await revoke(gone.id);
    await using reader = await room.nats.connect("policy");
    const stored = await lastMessage(reader, "KV_grants", `$KV.grants.token.${kept.id}`);
    expect(Number.parseInt(stored?.header("Nats-TTL") ?? "", 10)).toBeLessThanOrEqual(limits.tokenMaxMs / 1000 + 61);
    await policy[Symbol.asyncDispose]();
    policy = await room.start();
    expect((await read(kept.token)).outcome).toBe("allow");
    expect(await read(gone.token).catch(refusal)).toBe("token-refused: it was revoked");
  });
});
