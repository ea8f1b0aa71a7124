import { type Approval, ApprovalState, limits } from "@aether/contracts";
import { approvalRow } from "../approval-text.ts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";
import { alignColumns } from "../text.ts";

const options = {
  all: { type: "flag", short: "a", about: "Also those that were answered or have ended" },
  state: { type: "list", value: "STATE", about: `Only in this state: ${ApprovalState.options.join(", ")}` },
  job: { type: "text", value: "ID", about: "Only what this job waits for" },
  intent: { type: "text", value: "ID", about: "Only those of this intent" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
  quiet: { type: "flag", short: "q", about: "Only ids" },
} as const satisfies Options;

export const approvalsList = defineCommand({
  usage: "approvals ls [OPTION…]",
  about: "List what waits for a person's answer; with -a also what was answered, behind it",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether approvals ls", "aether approvals ls -a --job job_01k…"],
  async run({ values, json, terminal: { out }, connect }) {
    const filters = {
      ...(values.job !== undefined && { job_id: values.job }),
      ...(values.intent !== undefined && { intent_id: values.intent }),
    };
    const limit = toLimit(values.limit);
    const client = await connect();
    const items: Approval[] = [];
    for (const state of toStates(values.state, values.all)) {
      if (items.length === limit) break;
      const read = (place: object) => client.approvals.list({ ...filters, state, ...place });
      items.push(...(await readPages(limit - items.length, read)).items);
    }
    if (json) printJson(out, { items });
    else if (values.quiet) for (const { id } of items) out.line(id);
    else {
      const rows = items.map((approval) => approvalRow(approval, Date.now()));
      const [head = "", ...lines] = alignColumns([["APPROVAL", "STATE", "WHO", "ACTION", "WHAT", "ASKED"], ...rows]);
      out.line(out.paint("bold", head));
      for (const line of lines) out.line(line);
    }
    return exitCodes.done;
  },
});

/** What is asked for, a list after the other: what waits comes first, however much was answered since. */
function toStates(names: readonly string[], all: boolean): ApprovalState[][] {
  const others = ApprovalState.options.filter((state) => state !== "pending");
  if (names.length === 0) return all ? [["pending"], others] : [["pending"]];
  return [
    names.map((name) => {
      const state = ApprovalState.safeParse(name);
      if (!state.success) throw new UsageError(`'${name}' is no state: ${ApprovalState.options.join(", ")}`);
      return state.data;
    }),
  ];
}
