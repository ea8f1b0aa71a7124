import type { WhoAmI } from "@aether/contracts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

export const whoami = defineCommand({
  usage: "whoami",
  about: "Say who you are to Aether, how it knows, and with which roles",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  async run({ json, terminal: { out }, connect }) {
    const client = await connect();
    const who = await client.whoami();
    if (json) printJson(out, who);
    else print(out, who);
    return exitCodes.done;
  },
});

const knownBy = { credentials: "by what the kernel says of this process", socket: "by the agent's own socket" };

function print(out: Output, { name, roles, owner, uid, gid, groups, known_by, note }: WhoAmI): void {
  out.line(out.paint("bold", name));
  const fields: readonly (readonly [string, string | null])[] = [
    ["roles", roles.join(" ") || "none"],
    ["works for", owner],
    ["uid", String(uid)],
    ["gid", String(gid)],
    ["groups", groups.join(" ") || null],
    ["known", knownBy[known_by]],
    ["note", note],
  ];
  const rows = fields.flatMap(([field, value]) => (value === null ? [] : [[`  ${field}`, visible(value)]]));
  for (const line of alignColumns(rows)) out.line(line);
}
