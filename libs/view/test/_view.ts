// A view with an index, over KV `jobs`: the newest value of each key.
import type { Bus } from "@aether/bus";
import { openView, type View } from "../src/index.ts";

export function openCountView(bus: Bus, file: string): Promise<View> {
  return openView({
    bus,
    file,
    stream: "KV_jobs",
    subject: "$KV.jobs.>",
    layout:
      "CREATE TABLE item (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID; CREATE INDEX by_value ON item (value, key);",
    apply(database, { subject, data }) {
      database
        .prepare("INSERT OR REPLACE INTO item VALUES (?, ?)")
        .run(subject, new TextDecoder().decode(data ?? undefined));
    },
  });
}
