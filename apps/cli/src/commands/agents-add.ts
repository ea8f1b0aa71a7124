import { addAgent } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { printJson } from "../terminal.ts";

const options = {
  owner: { type: "text", value: "UID", about: "For whom it works, which only operators may say; you where absent" },
  cpus: { type: "text", also: ["cpu"], value: "N", about: "Cores; fractions allowed (1)" },
  memory: { type: "text", short: "m", value: "SIZE", about: "Memory, swap excluded (1g)" },
  "pids-limit": { type: "text", value: "N", about: "Processes and threads (256)" },
  disk: { type: "text", value: "SIZE", about: "Its folder, with /outputs (1g)" },
  timeout: { type: "text", value: "TIME", about: "Longest run (1h)" },
} as const satisfies Options;

export const agentsAdd = defineCommand({
  usage: "agents add [OPTION…] NAME",
  about: "Make an agent: a name with a socket, a folder and limits of its own",
  options,
  operands: { min: 1, max: 1, name: "NAME" },
  notes: ["A name stays with its first owner, also when the agent was removed."],
  examples: ["aether agents add scout --cpus 0.5 --memory 256m --timeout 10m"],
  async run({ values, operands: [name], json, terminal: { out }, connect }) {
    const { owner, cpus, memory, "pids-limit": pids, disk, timeout } = values;
    const limits = { cpus: toNumber(cpus), memory, pids: toNumber(pids), disk, timeout };
    const said = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
    const agent = { name, limits: said, ...(owner !== undefined && { owner: `user:${owner}` }) };
    const parsed = addAgent.request.safeParse(agent);
    if (!parsed.success) {
      throw new UsageError(
        parsed.error.issues.map(({ path, message }) => `${String(path.at(-1))}: ${message}`).join("; "),
      );
    }
    const client = await connect();
    const made = await client.agents.add(parsed.data);
    if (json) printJson(out, made);
    else out.line(made.name);
    return exitCodes.done;
  },
});

/** A number as it was written, for the schema to judge; what is none stays text, for the schema to refuse. */
function toNumber(text: string | undefined): number | string | undefined {
  return text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
