import type { Client } from "@aether/client";
import { type Grant, limits, ProblemError } from "@aether/contracts";
import { printGrant } from "../approval-text.ts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const grantsShow = defineCommand({
  usage: "grants show ID…",
  about: "Show what a grant allows, who gave it, and how it was used",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const [i, id] of operands.entries()) {
      const grant = await findGrant(client, id);
      if (json) printJsonLine(out, grant);
      else {
        if (i > 0) out.line();
        printGrant(out, grant);
      }
    }
    return exitCodes.done;
  },
});

async function findGrant(client: Client, id: string): Promise<Grant> {
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<Client["grants"]["list"]>> = await client.grants.list({
      limit: limits.pageMax,
      ...(cursor !== null && { cursor }),
    });
    const found = page.items.find((grant) => grant.id === id);
    if (found) return found;
    cursor = page.next_cursor;
  } while (cursor !== null);
  throw new ProblemError("not-found", { detail: `there is no grant ${id}` });
}
