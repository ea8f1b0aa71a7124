// Policies change under load: every decision is of one whole set, the newest one that was valid, and none fails.
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Bus, request } from "@aether/bus";
import { createId, listPolicies } from "@aether/contracts";
import { captureLog, requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { startPolicy } from "../src/index.ts";
import { ask, member, openRoom, operator, type Room } from "./_fixture.ts";

const missing = requireBackend("nats");
const reloads = 50;
const callers = 16;

describe.skipIf(missing)(`policies that change${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let policy: Awaited<ReturnType<typeof startPolicy>>;
  let jobs: Bus;
  let gateway: Bus;

  beforeAll(async () => {
    room = await openRoom();
    policy = await room.start({}, captureLog(), { lookEveryMs: 5 });
    jobs = await room.nats.connect("jobs");
    gateway = await room.nats.connect("gateway");
  });
  afterAll(async () => {
    await jobs[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
  });

  const list = async () =>
    (
      await request(
        gateway,
        listPolicies,
        { limit: 500 },
        { envelope: { request_id: createId("req"), principal: member } },
      )
    ).reply;
  const replace = (text: string) => {
    writeFileSync(join(room.folder, "next"), text);
    renameSync(join(room.folder, "next"), join(room.policiesDir, "own.cedar"));
  };
  /** Two policies that belong together: a set that has one of them only would answer what neither text says. */
  const closed = (n: number) =>
    ["submit_job", "start_job"]
      .map(
        (action) =>
          `@id("closed-${action}") @reason("closed ${n}") forbid (principal, action == Aether::Action::"${action}", resource);`,
      )
      .join("\n");

  it(`answer from one set or the other, over ${reloads} reloads with ${callers} callers`, async () => {
    const wordsOf = new Map<string, Set<string>>();
    const seen: number[] = [];
    let failed: unknown;
    let decided = 0;
    const done = new AbortController();
    const call = async (action: "submit_job" | "start_job") => {
      for (let newest = 0; !done.signal.aborted; decided++) {
        const { outcome, reason, policy_version } = await ask(jobs, { principal: member, action });
        const words = wordsOf.get(policy_version) ?? new Set();
        wordsOf.set(policy_version, words.add(`${outcome} ${reason}`));
        const n = Number(/closed (\d+)/.exec(reason)?.[1] ?? 0);
        if (n < newest) throw new Error(`${n} answered after ${newest}`);
        if (n > newest) seen.push(n);
        newest = n;
      }
    };
    const calling = Array.from({ length: callers }, (_, i) => call(i % 2 ? "submit_job" : "start_job"));
    for (const caller of calling)
      caller.catch((error: unknown) => {
        failed ??= error;
      });
    for (let n = 1; n <= reloads; n++) {
      // Every fifth time something comes first that must change nothing.
      if (n % 5 === 0) {
        replace(`${closed(n)}\npermit (principal, action, resource);`);
        await waitFor("the fault to be told", async () => (await list()).error !== null);
        expect((await list()).error).toMatch(/own\.cedar:3: every policy needs an @id/);
      }
      replace(closed(n));
      await waitFor("the new set", () => seen.includes(n) || failed !== undefined);
    }
    done.abort();
    await Promise.all(calling);
    expect(failed).toBeUndefined();
    expect(decided).toBeGreaterThan(reloads * callers);
    expect(wordsOf.size).toBe(reloads + 1);
    for (const words of wordsOf.values()) expect([...words]).toHaveLength(1);
  });

  it("are not believed while they are being written", async () => {
    const file = join(room.policiesDir, "own.cedar");
    replace(closed(1000));
    await waitFor("the set", async () => (await ask(jobs)).reason === "closed 1000");
    for (let n = 1; n <= 5; ) {
      const emptiedAt = performance.now();
      writeFileSync(file, ""); // as an editor empties it
      await setTimeout(40);
      const { outcome } = await ask(jobs);
      writeFileSync(file, closed(1000 + n));
      if (performance.now() - emptiedAt > 90) continue; // this machine was too slow: it stood long enough to be believed
      expect(outcome).toBe("deny");
      n++;
      await waitFor("the set", async () => (await ask(jobs)).reason === `closed ${1000 + n - 1}`);
    }
  });

  it("are listed with their origin, by pages", async () => {
    replace(closed(2000));
    await waitFor("the set", async () => (await ask(jobs)).reason === "closed 2000");
    const { items, warnings, error, policy_version } = await list();
    expect({ warnings, error }).toEqual({ warnings: [], error: null });
    expect(policy_version).toBe((await ask(jobs)).policy_version);
    expect(items.filter(({ origin }) => origin === "own")).toEqual([
      {
        id: "closed-submit_job",
        effect: "forbid",
        reason: "closed 2000",
        ask: null,
        origin: "own",
        file: "own.cedar",
        line: 1,
      },
      {
        id: "closed-start_job",
        effect: "forbid",
        reason: "closed 2000",
        ask: null,
        origin: "own",
        file: "own.cedar",
        line: 2,
      },
    ]);
    const ids: string[] = [];
    for (let cursor: string | undefined; cursor !== ""; ) {
      const page = { limit: 7, ...(cursor !== undefined && { cursor }) };
      const envelope = { request_id: createId("req"), principal: operator };
      const { reply } = await request(gateway, listPolicies, page, { envelope });
      ids.push(...reply.items.map(({ id }) => id));
      cursor = reply.next_cursor ?? "";
    }
    expect(ids).toEqual(items.map(({ id }) => id));
    rmSync(join(room.policiesDir, "own.cedar"));
    await waitFor("the shipped set", async () => (await ask(jobs)).outcome === "allow");
  });
});
