// A view survives whoever writes it, and is made anew when it cannot be trusted.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { seedFile } from "@aether/bus";
import { requireBackend, startNats, tempDir, waitFor } from "@aether/testkit";
import { expect, it } from "vitest";
import { openCountView } from "./_view.ts";

const missing = requireBackend("nats");
const followerPath = fileURLToPath(new URL("./_follower.ts", import.meta.url));
const keys = 200;

it.skipIf(missing)(
  "is whole and complete after its writer was killed again and again",
  { timeout: 60_000 },
  async () => {
    await using nats = await startNats();
    using folder = tempDir();
    await using bus = await nats.connect("jobs");
    const file = join(folder.path, "view.sqlite");
    const writing = { ended: false };
    const padding = "x".repeat(2_000);
    let last = 0;
    const write = async () => {
      for (let n = 0; !writing.ended; n++) {
        const acks = Array.from({ length: 25 }, (_, k) =>
          bus.js.publish(`$KV.jobs.k${(n * 25 + k) % keys}`, `${n}${padding}`),
        );
        last = Math.max(last, ...(await Promise.all(acks)).map(({ seq }) => seq));
      }
    };
    const written = write();
    for (let round = 0; round < 4; round++) {
      const follower = spawn(process.execPath, [followerPath, nats.url, seedFile(nats.keysDir, "jobs"), file], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(follower.stdout, "data");
      const from = last;
      await waitFor("more to be written", () => last > from + 60);
      follower.kill("SIGKILL");
      await once(follower, "exit");
    }
    writing.ended = true;
    await written;
    await using view = await openCountView(bus, file);
    expect(await view.reach(last, 10_000)).toBe(true);
    expect(view.database.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
    expect(view.database.prepare("SELECT count(*) AS n FROM item").get()).toEqual({ n: keys });
  },
);

it.skipIf(missing)("is read anew when another boot of the machine left it", async () => {
  await using nats = await startNats();
  using folder = tempDir();
  await using bus = await nats.connect("jobs");
  const file = join(folder.path, "view.sqlite");
  await bus.js.publish("$KV.jobs.a", "true");
  await (await openCountView(bus, file))[Symbol.asyncDispose]();
  const count = async () => {
    await using view = await openCountView(bus, file);
    return view.database.prepare("SELECT count(*) AS n FROM item WHERE value = 'stale'").get();
  };
  const change = (sql: string) => {
    using database = new DatabaseSync(file);
    database.exec(sql);
  };
  change("UPDATE item SET value = 'stale'");
  expect(await count()).toEqual({ n: 1 });
  change("UPDATE view SET boot_id = 'another'");
  expect(await count()).toEqual({ n: 0 });
});
