// Sealing and the reserve.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import { archiveAudit, createId, healthOperation, listAudit, ProblemError, verifyAudit } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { ask, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

const MIB = 1024 * 1024;
const missing = requireBackend("nats");
const unprivileged = process.getuid?.() === 0 ? null : "a small file system needs root";
const from = () => ({ envelope: { request_id: createId("req"), principal: operator } });
const verify = async (gateway: Bus) => (await request(gateway, verifyAudit, {}, from())).reply;
const degraded = async (gateway: Bus) => (await request(gateway, healthOperation("policy"), {}, from())).reply.degraded;
const segmentsIn = (room: Room) => join(room.folder, "data/audit/segments");
const sealsIn = (room: Room) => readdirSync(segmentsIn(room)).filter((name) => name.endsWith(".seal.json"));

describe.skipIf(missing)(`sealed segments${missing ? `: ${missing}` : ""}`, () => {
  it("what the stream drops is in a segment; verification, lists and restarts do not notice", async () => {
    await using room = await openRoom({ storeBytes: 4 * MIB });
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    const start = () => room.start({ AETHER_POLICY_SEAL_BYTES: 100_000 });
    const decideSome = async (count: number) => {
      for (let n = 0; n < count / 50; n++) await Promise.all(Array.from({ length: 50 }, () => ask(jobs)));
    };
    {
      await using _policy = await start();
      for (let round = 0; round < 3; round++) {
        const before = sealsIn(room).length;
        await decideSome(600);
        await waitFor("a segment", () => sealsIn(room).length > before);
      }
      expect(await verify(gateway)).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    }
    expect((await storedRecords(room.nats))[0]?.seq).toBeGreaterThan(1);
    rmSync(join(room.folder, "data/audit/view.sqlite"));
    await using _policy = await start();
    await decideSome(50);
    const report = await verify(gateway);
    expect(report).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(report.segments).toBe(sealsIn(room).length);
    const oldest = { kind: "writer.start" as const, limit: 50 };
    const list = () => request(gateway, listAudit, oldest, from()).catch(() => null);
    const { reply } = await waitFor("the view to be made anew", list);
    expect(reply.items.map(({ seq }) => seq)).toContain(1);
    expect(await degraded(gateway)).toEqual([]);
  });

  it.skipIf(unprivileged)("a full disk under the segments fills the log, and room on it mends that", async () => {
    await using room = await openRoom({ storeBytes: MIB });
    mkdirSync(segmentsIn(room), { recursive: true });
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", segmentsIn(room)]);
    expect(mounted.status, String(mounted.stderr)).toBe(0);
    try {
      const filler = join(segmentsIn(room), "filler");
      writeFileSync(filler, Buffer.alloc(2 * MIB - 16 * 1024));
      await fillAndMend(room, () => rmSync(filler));
    } finally {
      spawnSync("umount", ["-l", segmentsIn(room)]);
    }
  });

  it("a full log refuses everything but stop and kill, then these too; sealing mends it and nothing is lost", async () => {
    await using room = await openRoom({ storeBytes: MIB });
    mkdirSync(segmentsIn(room), { recursive: true });
    const obstacle = join(segmentsIn(room), "drafts");
    writeFileSync(obstacle, ""); // sealing cannot make its folder
    await fillAndMend(room, () => rmSync(obstacle));
  });

  /** Fills the log while nothing can be sealed, then mends that. */
  async function fillAndMend(room: Room, mend: () => void): Promise<void> {
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    await using _policy = await room.start();
    const refusal = (error: unknown) => (error instanceof ProblemError ? error.slug : String(error));
    const submit = () => ask(jobs).then(({ outcome }) => outcome, refusal);
    const kill = () => ask(jobs, { action: "kill_job" }).then(({ outcome }) => outcome, refusal);
    await waitFor("the log to be full", async () => {
      const outcomes = await Promise.all(Array.from({ length: 20 }, submit));
      return outcomes.at(-1) === "audit-unavailable" && (await submit()) === "audit-unavailable";
    });
    await waitFor("sealing to be told", async () =>
      (await degraded(gateway)).some((line) => /cannot be sealed/.test(line)),
    );
    expect((await degraded(gateway)).some((line) => /only what ends things or makes room/.test(line))).toBe(true);
    expect(await kill()).toBe("allow");
    expect(await submit()).toBe("audit-unavailable");
    expect(await request(gateway, archiveAudit, {}, from()).catch(refusal)).toBe("storage-full");
    expect(await request(gateway, verifyAudit, {}, from()).catch(refusal)).toBe("audit-unavailable");
    await waitFor("the reserve to be used", async () => (await kill()) === "audit-unavailable");
    const full = await storedRecords(room.nats);
    expect(full[0]?.seq).toBe(1);
    mend();
    await waitFor("submits to go on", async () => (await submit()) === "allow");
    const report = await verify(gateway);
    expect(report).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(report.records).toBeGreaterThan(full.length);
    expect(await degraded(gateway)).toEqual([]);
  }
});
