// Reading the log: by time and from the other end, one record with its proof, and what is sealed when it is asked for.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import { canonicalJson } from "@aether/chain";
import {
  type AuditRecord,
  archiveAudit,
  createId,
  exportAudit,
  getAudit,
  listAudit,
  ProblemError,
  verifyAudit,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import type { startPolicy } from "../src/index.ts";
import { ask, member, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

const missing = requireBackend("nats");
describe.skipIf(missing)(`the audit log is read${missing ? `: ${missing}` : ""}`, () => {
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

  const from = (principal = operator) => ({ envelope: { request_id: createId("req"), principal } });
  const list = async (input: z.input<typeof listAudit.request>) =>
    (await request(gateway, listAudit, input, from())).reply;
  const show = async (id: string) => (await request(gateway, getAudit, { id }, from())).reply;
  const archive = async () => (await request(gateway, archiveAudit, {}, from())).reply;
  const refusal = (error: unknown) => (error instanceof ProblemError ? error.slug : error);
  const some = async (count: number) => {
    const jobId = createId("job");
    await Promise.all(Array.from({ length: count }, () => ask(jobs, { job_id: jobId })));
    return jobId;
  };
  const sealedFiles = () =>
    readdirSync(join(room.folder, "data/audit/segments")).filter((name) => name.endsWith(".jsonl"));

  it("by time: exactly what was written within, whatever the page", async () => {
    const before = await some(3);
    const sinceMs = Date.now();
    await waitFor("the clock to go on", () => Date.now() > sinceMs);
    const within = await some(3);
    const untilMs = Date.now() + 1;
    await waitFor("the clock to go on", () => Date.now() > untilMs);
    await some(2);
    const [since, until] = [new Date(sinceMs + 1).toISOString(), new Date(untilMs).toISOString()];
    const all: AuditRecord[] = [];
    let cursor: string | undefined;
    do {
      const page = await list({
        since,
        until,
        limit: 2,
        kind: "decision",
        action: "submit_job",
        ...(cursor && { cursor }),
      });
      all.push(...page.items);
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    expect(all.map(({ job_id }) => job_id)).toEqual(Array(3).fill(within));
    expect((await list({ until: since, job_id: before })).items).toHaveLength(3);
    expect((await list({ since: "1h", job_id: before })).items).toHaveLength(3);
    expect((await list({ until: "1h" })).items).toEqual([]);
    expect((await list({ since: "2999-01-01T00:00:00Z" })).items).toEqual([]);
  });

  it("as lines, oldest first: every record once, as it is stored, up to what was there when it was asked", async () => {
    await Promise.all(Array.from({ length: 40 }, () => some(50)));
    const read = async (more: object) => {
      const lines: string[] = [];
      let place: { after: number; until_seq?: number } = { after: 0 };
      do {
        const { reply, bytes } = await request(gateway, exportAudit, { ...more, ...place }, from());
        expect(bytes.length).toBeLessThanOrEqual(512 * 1024);
        lines.push(...new TextDecoder().decode(bytes).split("\n").slice(0, -1));
        place = { after: reply.after, until_seq: reply.until };
      } while (place.after < (place.until_seq ?? 0));
      return lines;
    };
    const lines = await read({});
    const stored = (await storedRecords(room.nats)).map((record) => canonicalJson(record));
    expect(lines.length).toBeGreaterThan(2000);
    expect(lines).toEqual(stored.slice(0, lines.length));
    const jobId = await some(3);
    const ids = (await read({ job_id: jobId, since: "1h" })).map((line) => JSON.parse(line).job_id);
    expect(ids).toEqual(Array(3).fill(jobId));
  });

  it("one by one: chained until a checkpoint is due, then signed, also where it is sealed", async () => {
    const { decision_id: id } = await ask(jobs);
    const fresh = await show(id ?? "");
    expect(fresh).toMatchObject({ record: { id, kind: "decision" }, proof: { place: "stream", fault: null } });
    expect(["chained", "signed"]).toContain(fresh.proof.state);
    await archive();
    const { proof } = await show(id ?? "");
    expect(proof).toMatchObject({ state: "signed", fault: null });
    expect(sealedFiles()).toContain(proof.place);
    expect(proof.checkpoint_seq).toBeGreaterThanOrEqual(fresh.record.seq);
  });

  it("one that was changed where it is stored is broken, and says where", async () => {
    const { decision_id: id } = await ask(jobs);
    await archive();
    const { record, proof } = await show(id ?? "");
    const file = join(room.folder, "data/audit/segments", proof.place);
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace(`"id":"${id}"`, `"id":"${createId("aud")}"`));
    expect((await show(id ?? "")).proof).toMatchObject({
      state: "broken",
      fault: expect.stringContaining(`record ${record.seq}: `),
    });
    writeFileSync(file, text);
    expect((await show(id ?? "")).proof.state).toBe("signed");
  });

  it("one that is not there is not found, and nobody but operators is told anything", async () => {
    await expect(show(createId("aud")).catch(refusal)).resolves.toBe("not-found");
    const { decision_id: id } = await ask(jobs);
    for (const asked of [
      request(gateway, getAudit, { id: id ?? "" }, from(member)),
      request(gateway, archiveAudit, {}, from(member)),
    ]) {
      const failed = await asked.catch((error: unknown) => error);
      expect((failed as ProblemError).problem).toMatchObject({ status: 403, detail: "the audit log is for operators" });
    }
  });

  it("what is archived is sealed up to the asking, the log goes on and verifies", async () => {
    await some(20);
    const { segments, unsealed_bytes, max_bytes } = await archive();
    const [segment] = segments;
    expect(segments).toHaveLength(1);
    expect(statSync(join(room.folder, "data/audit/segments", segment?.file ?? "")).size).toBe(segment?.bytes);
    expect(unsealed_bytes).toBeLessThan(5_000);
    expect(max_bytes).toBeGreaterThan(1_000_000);
    const [again, twice] = await Promise.all([archive(), archive()]);
    expect(again.segments[0]?.first_seq).toBe((segment?.last_seq ?? 0) + 1);
    for (const [index, next] of [...again.segments, ...twice.segments].slice(1).entries()) {
      expect(next.first_seq).toBe((again.segments[index]?.last_seq ?? 0) + 1);
    }
    const { reply } = await request(gateway, verifyAudit, {}, from());
    expect(reply).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(reply.segments).toBe(sealedFiles().length);
  });
});
