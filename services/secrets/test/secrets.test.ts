// What the secrets service keeps, gives and refuses, on a real nats-server.
import { rmSync, writeFileSync } from "node:fs";
import { limits } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ada, ben, openRoom, type Room } from "./_fixture.ts";

const missing = requireBackend("nats");
const line = (digit: string) => `${digit.repeat(64)}\n`;
const key = (owner: string, name: string) => `${Buffer.from(owner).toString("base64url")}.${name}`;

describe.skipIf(missing)(`secrets${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let usual: Room["policy"]["allows"];
  const stack = new AsyncDisposableStack();
  beforeAll(async () => {
    room = stack.use(await openRoom());
    stack.use(await room.start());
    usual = room.policy.allows;
  });
  afterAll(() => stack.disposeAsync());
  afterEach(() => {
    room.policy.allows = usual;
  });

  it("are set, told of, set anew and deleted", async () => {
    const made = await room.set("db", "one", ada, ["team=docs"]);
    expect(made).toMatchObject({ id: "user:1000/db", name: "db", owner: "user:1000", version: 1, size_bytes: 3 });
    expect(made).toMatchObject({ labels: { team: "docs" }, last_used_at: null });
    expect(JSON.stringify(made)).not.toMatch(/sealed|value/);
    const anew = await room.set("db", "two!");
    expect(anew).toMatchObject({ version: 2, size_bytes: 4, labels: { team: "docs" }, created_at: made.created_at });
    expect(await room.list()).toEqual([anew]);
    expect(await room.delete("db")).toEqual(anew);
    expect(await room.list()).toEqual([]);
    await expect(room.delete("db")).rejects.toMatchObject({ slug: "not-found" });
    expect((await room.set("db", "three")).version).toBe(1);
    await room.delete("db");
  });

  it("are listed by name, around those that were deleted", async () => {
    for (const name of ["c", "a.b", "b", "a"]) await room.set(name, name);
    await room.delete("b");
    expect((await room.list()).map(({ name }) => name)).toEqual(["a", "a.b", "c"]);
    for (const name of ["c", "a.b", "a"]) await room.delete(name);
  });

  it("stay as they are when the same is set again", async () => {
    const first = await room.set("same", "value", ada, ["b=2", "a=1"]);
    expect(await room.set("same", "value")).toEqual(first);
    expect(await room.set("same", "value", ada, ["a=1", "b=2"])).toEqual(first);
    expect(await room.set("same", "value", ada, [])).toMatchObject({ version: 2, labels: {} });
  });

  it("of one owner are another's neither to see nor to touch, under the same name", async () => {
    await room.set("mine", "ada's");
    await room.set("mine", "ben's", ben);
    expect((await room.list(ben)).map(({ id }) => id)).toEqual(["user:1001/mine"]);
    await room.delete("mine", ben);
    const job = await room.promise(ada, "user:1000/mine");
    expect(await room.take(job, "user:1000/mine")).toBe("ada's");
  });

  it("without a byte, or of too many, or of too many labels, are refused", async () => {
    await expect(room.set("none", "")).rejects.toMatchObject({ slug: "invalid-request" });
    const most = new Uint8Array(limits.secretBytes);
    await expect(room.set("large", Buffer.concat([most, Buffer.from("x")]))).rejects.toMatchObject({
      slug: "too-large",
    });
    expect((await room.set("large", most)).size_bytes).toBe(limits.secretBytes);
    await room.delete("large");
    for (const label of [["x"], ["=x"], ["../a=x"], [`a=${"x".repeat(257)}`], Array(33).fill("a=b")])
      await expect(room.set("labelled", "x", ada, label)).rejects.toMatchObject({ slug: "invalid-request" });
  });

  it("are refused beyond so many of one owner, with the figure", async () => {
    const had = (await room.list(ben)).length;
    for (let i = had; i < limits.secretsPerOwner; i++) await room.set(`n${i}`, "x", ben);
    const refused = room.set("one-more", "x", ben);
    await expect(refused).rejects.toMatchObject({ slug: "too-many-requests", message: /100 secrets/ });
    await room.set("n99", "another value", ben);
    for (const { name } of await room.list(ben)) await room.delete(name, ben);
    await room.set("one-more", "x", ben);
  });

  it("set by two at once end as one of them, and the other is told", async () => {
    await room.set("contended", "before");
    const tries = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => room.set("contended", `value ${i}`)));
    const refused = tries.flatMap((tried) => (tried.status === "rejected" ? [tried.reason.slug] : []));
    expect(new Set(refused)).toEqual(new Set(["conflict"]));
    const done = tries.flatMap((tried, i) => (tried.status === "fulfilled" ? [`value ${i}`] : []));
    const job = await room.promise(ada, "user:1000/contended");
    expect(done).toContain(await room.take(job, "user:1000/contended"));
  });

  describe("for jobs", () => {
    it("are given to the host that holds the attempt, and policy is asked as the job's owner", async () => {
      const { revision } = await room.set("given", "value", ada, ["env=test"]);
      const job = await room.promise(ada, "user:1000/given");
      room.policy.asked.length = 0;
      expect(await room.take(job, "user:1000/given")).toBe("value");
      expect(room.policy.asked).toMatchObject([
        {
          principal: { type: "User", id: "1000", roles: ["member"] },
          action: "use_secret",
          resource: { type: "Secret", id: "user:1000/given", owner: "user:1000", labels: { env: "test" } },
          record: "before",
          job_id: job,
        },
      ]);
      const [used] = (await room.list()).filter(({ name }) => name === "given");
      expect(Date.now() - Date.parse(used?.last_used_at ?? "")).toBeLessThan(60_000);
      expect(used?.revision).toBeGreaterThan(revision);
      // A second use within the minute writes nothing.
      expect(await room.take(job, "user:1000/given")).toBe("value");
      expect((await room.list()).find(({ name }) => name === "given")).toEqual(used);
    });

    it.each([
      ["of another host", { host: "host-b" }, "conflict"],
      ["with another secret", { secret: "0".repeat(32) }, "conflict"],
      ["of another attempt", { attempt: 2 }, "conflict"],
    ])("are not given to an attempt %s", async (_, more, slug) => {
      await room.set("fenced", "value");
      const job = await room.promise(ada, "user:1000/fenced");
      await expect(room.take(job, "user:1000/fenced", more)).rejects.toMatchObject({ slug });
    });

    it("are not given where the job was promised others, where policy says no, or where they have changed", async () => {
      await room.set("promised", "value");
      await room.set("other", "value");
      const job = await room.promise(ada, "user:1000/promised");
      await expect(room.take(job, "user:1000/other")).rejects.toMatchObject({ slug: "not-found" });
      room.policy.allows = () => false;
      await expect(room.take(job, "user:1000/promised")).rejects.toMatchObject({ slug: "not-found" });
      room.policy.allows = usual;
      await room.set("promised", "another");
      room.policy.asked.length = 0;
      await expect(room.take(job, "user:1000/promised")).rejects.toMatchObject({ message: /set anew/ });
      expect(room.policy.asked).toEqual([]);
    });

    it("of another owner are given where policy allows it", async () => {
      await room.set("lent", "value");
      const job = await room.promise(ben, "user:1000/lent");
      await expect(room.take(job, "user:1000/lent")).rejects.toMatchObject({ slug: "not-found" });
      room.policy.allows = ({ principal, action }) => principal.id === ben.id && action === "use_secret";
      expect(await room.take(job, "user:1000/lent")).toBe("value");
    });
  });

  it("reach policy, the log and the store by name, never by value", async () => {
    room.policy.asked.length = 0;
    const value = "tell-nobody-0123456789";
    await room.set("canary", value, ada, ["a=b"]);
    const job = await room.promise(ada, "user:1000/canary");
    await room.take(job, "user:1000/canary");
    const stored = await room.bucket.get(key("user:1000", "canary"));
    const told = JSON.stringify([room.policy.asked, room.log.lines, stored, await room.list()]);
    expect(told).toContain("user:1000/canary");
    for (const form of [value, Buffer.from(value).toString("base64").slice(0, -4), Buffer.from(value).toString("hex")])
      expect(told).not.toContain(form);
  });

  it("that were changed in the store, or put in another's place, open for nobody and can be set anew", async () => {
    await room.set("mine-too", "ben's", ben);
    await room.set("tampered", "value");
    const [own, other] = [key("user:1000", "tampered"), key("user:1001", "mine-too")];
    const entry = await room.bucket.get(own);
    const foreign = await room.bucket.get(other);
    if (!entry || !foreign) throw new Error("they are stored");
    const job = await room.promise(ada, "user:1000/tampered");
    const { sealed } = entry.value;
    const bytes = Buffer.from(sealed.value, "base64");
    bytes[bytes.length - 20] = (bytes.at(-20) ?? 0) ^ 1;
    let { revision } = entry;
    for (const forged of [{ ...sealed, value: bytes.toString("base64") }, foreign.value.sealed]) {
      revision = await room.bucket.update(own, { ...entry.value, sealed: forged }, revision);
      await expect(room.take(job, "user:1000/tampered")).rejects.toMatchObject({ message: /does not open/ });
    }
    await room.set("tampered", "value");
    expect(await room.take(await room.promise(ada, "user:1000/tampered"), "user:1000/tampered")).toBe("value");
  });
});

describe.skipIf(missing)(`secrets and their keys${missing ? `: ${missing}` : ""}`, () => {
  it("survive a restart of service and store", async () => {
    await using room = await openRoom();
    {
      await using _service = await room.start();
      await room.set("db", "value");
    }
    await room.nats.restart();
    await using _service = await waitFor("the store to be back", () => room.start().catch(() => null));
    const job = await waitFor("everybody to be back", () => room.promise(ada, "user:1000/db").catch(() => null));
    expect(await waitFor("the worker too", () => room.take(job, "user:1000/db").catch(() => null))).toBe("value");
    expect(await room.health()).toEqual([]);
  });

  it("under a key that is gone are told of, refused, and back with it", async () => {
    await using room = await openRoom();
    writeFileSync(room.keyFile, line("a"), { mode: 0o600 });
    {
      await using _service = await room.start();
      await room.set("db", "value");
    }
    rmSync(room.keyFile);
    {
      await using _service = await room.start();
      const health = () => room.health().then((degraded) => degraded[0] ?? null);
      expect(await waitFor("health to tell", health)).toMatch(/no key of the key file opens 1 secret: restore/);
      const job = await room.promise(ada, "user:1000/db");
      await expect(room.take(job, "user:1000/db")).rejects.toMatchObject({
        message: /which the key file does not hold/,
      });
      await room.set("other", "under the new key");
    }
    writeFileSync(room.keyFile, line("a"));
    await using _service = await room.start();
    expect(await room.take(await room.promise(ada, "user:1000/db"), "user:1000/db")).toBe("value");
  });

  it("are sealed anew after a key was put on top, also by two at once, and need the old one no more", async () => {
    await using room = await openRoom();
    writeFileSync(room.keyFile, line("a"), { mode: 0o600 });
    const names = Array.from({ length: 20 }, (_, i) => `n${i}`);
    {
      await using _service = await room.start();
      for (const name of names) await room.set(name, `value of ${name}`);
    }
    const jobs = await Promise.all(names.map((name) => room.promise(ada, `user:1000/${name}`).catch(() => "")));
    expect(new Set(jobs)).toEqual(new Set([""])); // nobody serves
    writeFileSync(room.keyFile, line("b") + line("a"));
    {
      await using _one = await room.start();
      await using _two = await room.start();
      const ids = async () =>
        new Set(
          await Promise.all(
            names.map(async (name) => (await room.bucket.get(key("user:1000", name)))?.value.sealed.key_id),
          ),
        );
      await waitFor("all to lie under one key", async () => (await ids()).size === 1);
    }
    writeFileSync(room.keyFile, line("b"));
    await using _service = await room.start();
    for (const name of names) {
      const job = await room.promise(ada, `user:1000/${name}`);
      expect(await room.take(job, `user:1000/${name}`)).toBe(`value of ${name}`);
    }
    expect(await room.health()).toEqual([]);
  });
});
