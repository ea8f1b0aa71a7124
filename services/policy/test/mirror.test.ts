// The log as files: whole, once and in order across kills, rotation, full disks and writers that overlap.
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import { canonicalJson, readBatches, startVerification } from "@aether/chain";
import { createId, healthOperation } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { openCheckpoints } from "../src/checkpoints.ts";
import { ask, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";
import { kill, startProcess } from "./_process.ts";

const missing = requireBackend("nats");
const unprivileged = process.getuid?.() === 0 ? null : "a small file system needs root";
const folderOf = (room: Room) => join(room.folder, "log");
const filesOf = (room: Room) =>
  readdirSync(folderOf(room))
    .filter((name) => /^audit-\d+\.log$/.test(name))
    .sort();
const mirrored = (room: Room) =>
  filesOf(room).flatMap((name) =>
    readFileSync(join(folderOf(room), name), "utf8")
      .split("\n")
      .slice(0, -1),
  );
const stored = async (room: Room) => (await storedRecords(room.nats)).map((record) => canonicalJson(record));
const degraded = async (gateway: Bus) => {
  const envelope = { request_id: createId("req"), principal: operator };
  return (await request(gateway, healthOperation("policy"), {}, { envelope })).reply.degraded;
};
const whole = (room: Room) =>
  waitFor("the mirror to be as the log", async () => {
    const [there, here] = [await stored(room), mirrored(room)];
    return here.length === there.length && here.join("\n") === there.join("\n");
  });

describe.skipIf(missing)(`the mirror of the log${missing ? `: ${missing}` : ""}`, () => {
  it("holds every record once, in order, across kills, torn ends and a second writer", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    const overrides = { AETHER_POLICY_SEAL_BYTES: 40_000 };
    for (let round = 0; round < 4; round++) {
      const [one, two] = [startProcess(room, overrides), round % 2 ? startProcess(room, overrides) : null];
      for (let n = 0; n < 30; n++) await waitFor("an answer", () => ask(jobs, {}, 1000).catch(() => null), 20_000);
      await waitFor("something to be mirrored", () => filesOf(room).length > 0);
      await Promise.all([one, two].map((child) => child && kill(child, "SIGKILL")));
      const last = join(folderOf(room), filesOf(room).at(-1) ?? "");
      if (round === 1) appendFileSync(last, '{"action":"half a rec');
      if (round === 2) truncateSync(last, statSync(last).size - 100);
    }
    {
      await using _policy = await room.start(overrides);
      await whole(room);
    }
    await whole(room);
    expect(readlinkSync(join(folderOf(room), "audit.log"))).toBe(filesOf(room).at(-1));
    expect(statSync(join(folderOf(room), filesOf(room)[0] ?? "")).mode & 0o777).toBe(0o640);
  }, 60_000);

  it("is a copy that verifies by itself, with the second checkpoints and the public key", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    {
      await using _policy = await room.start();
      for (let n = 0; n < 20; n++) await ask(jobs);
    }
    await using _policy = await room.start();
    await whole(room);
    const { key, places } = openCheckpoints(join(room.folder, "data/audit"), folderOf(room));
    const verification = startVerification([{ name: "copy", content: readFileSync(places[1], "utf8") }], key);
    for (const name of filesOf(room)) await verification.walk(readBatches(join(folderOf(room), name)));
    expect(await verification.report()).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
  });

  it("is rotated within its size, and filled from segments when it was away", async () => {
    await using room = await openRoom({ storeBytes: 4 * 1024 * 1024 });
    await using jobs = await room.nats.connect("jobs");
    const sizes = { AETHER_POLICY_SEAL_BYTES: 100_000, AETHER_POLICY_MIRROR_BYTES: 400_000 };
    const seals = () => readdirSync(join(room.folder, "data/audit/segments")).filter((name) => name.endsWith(".json"));
    const decideSome = async () => {
      for (let round = 0; round < 3; round++) {
        const before = seals().length;
        for (let n = 0; n < 8; n++) await Promise.all(Array.from({ length: 50 }, () => ask(jobs)));
        await waitFor("a segment", () => seals().length > before);
      }
    };
    const last = async () => (await stored(room)).at(-1);
    {
      await using _policy = await room.start({ ...sizes, AETHER_POLICY_MIRROR_BYTES: 0 });
      await decideSome();
      expect(filesOf(room)).toEqual([]);
    }
    await using _policy = await room.start(sizes);
    await decideSome();
    const lines = await waitFor("the mirror to reach the end", async () => {
      const all = mirrored(room);
      return all.at(-1) === (await last()) && all;
    });
    const seqs = lines.map((line) => JSON.parse(line).seq as number);
    expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
    expect(seqs.length).toBeGreaterThan(200);
    expect(filesOf(room).length).toBeLessThanOrEqual(8);
    const bytes = filesOf(room).reduce((sum, name) => sum + statSync(join(folderOf(room), name)).size, 0);
    expect(bytes).toBeLessThan(440_000);
  });

  it("that holds something else than the log is left as it is, and told", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using gateway = await room.nats.connect("gateway");
    {
      await using _policy = await room.start();
      for (let n = 0; n < 5; n++) await ask(jobs);
    }
    await using _policy = await room.start();
    await whole(room);
    await _policy[Symbol.asyncDispose]();
    const file = join(folderOf(room), filesOf(room)[0] ?? "");
    const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
    const other = lines.at(-1)?.replace(/"hash":"[0-9a-f]{8}/, '"hash":"00000000') ?? "";
    const changed = `${lines.with(-1, other).join("\n")}\n`;
    writeFileSync(file, changed);
    await using _again = await room.start();
    await waitFor("it to be told", async () => (await degraded(gateway)).some((line) => /is not the log's/.test(line)));
    expect((await ask(jobs)).outcome).toBe("allow");
    expect(readFileSync(file, "utf8")).toBe(changed);
  });

  it.skipIf(unprivileged)(
    "stops at a full disk without holding up a decision, and goes on when there is room",
    async () => {
      await using room = await openRoom();
      await using jobs = await room.nats.connect("jobs");
      await using gateway = await room.nats.connect("gateway");
      mkdirSync(folderOf(room));
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", folderOf(room)]);
      expect(mounted.status, String(mounted.stderr)).toBe(0);
      try {
        const filler = join(folderOf(room), "filler");
        await using _policy = await room.start();
        await ask(jobs);
        await waitFor("the disk to be full", () => {
          try {
            appendFileSync(filler, Buffer.alloc(4096));
            return false;
          } catch {
            return true;
          }
        });
        for (let n = 0; n < 100; n++) expect((await ask(jobs)).outcome).toBe("allow");
        await waitFor("it to be told", async () =>
          (await degraded(gateway)).some((line) => /not mirrored: ENOSPC/.test(line)),
        );
        rmSync(filler);
        await whole(room);
        await waitFor("it to be well", async () => !(await degraded(gateway)).some((line) => /mirrored/.test(line)));
      } finally {
        spawnSync("umount", ["-l", folderOf(room)]);
      }
    },
  );
});
