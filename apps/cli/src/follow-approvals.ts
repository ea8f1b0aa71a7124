// Everything that waits for an answer, as it comes and as it goes: by another's answer, by its time, by its asker.
import type { Client } from "@aether/client";
import { type Approval, limits } from "@aether/contracts";
import { retryWhileAway } from "./patience.ts";

/** Gives each batch of changes, what waits now first; goes on where a gateway or policy was away. */
export async function* followApprovals(client: Client, signal: AbortSignal): AsyncGenerator<Approval[], void, void> {
  const pending = await readAll(client, { state: ["pending"] }, signal);
  yield pending.items;
  for (let after = pending.revision; !signal.aborted; ) {
    const changes = await retryWhileAway(() => readAll(client, { after, wait: "30s" }, signal));
    after = changes.revision;
    if (changes.items.length > 0) yield changes.items;
  }
}

/** All pages, oldest first, and the revision before the first of them: what changes in between is told again. */
async function readAll(
  client: Client,
  query: Parameters<Client["approvals"]["list"]>[0],
  signal: AbortSignal,
): Promise<{ items: Approval[]; revision: number }> {
  const first = await client.approvals.list({ ...query, limit: limits.pageMax }, { signal });
  const items = [...first.items];
  for (let cursor = first.next_cursor; cursor !== null; ) {
    const page = await client.approvals.list({ ...query, limit: limits.pageMax, cursor }, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return { items: items.reverse(), revision: first.revision };
}
