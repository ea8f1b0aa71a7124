import { actions, checkPolicy, parseFact, resourceTypes } from "@aether/contracts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { printJson } from "../terminal.ts";
import { visible } from "../text.ts";

const options = {
  resource: { type: "text", value: "TYPE[/ID]", about: `What it is about: ${resourceTypes.join(", ")}` },
  owner: { type: "text", value: "NAME", about: "Whose it is: user:1000" },
  as: { type: "text", value: "NAME", about: "Whom it is about instead of you, for operators: agent:aurora" },
  role: { type: "list", value: "ROLE", about: "With --as: a role that he would have: operator, member, agent" },
  label: { type: "list", short: "l", value: "K=V", about: "A label of the thing; needs --resource" },
  context: {
    type: "list",
    short: "c",
    value: "K=V",
    about: "A fact about the act: timeout_ms=8d, memory_bytes=2g, pool=default",
  },
} as const satisfies Options;

export const policyCheck = defineCommand({
  usage: "policy check [OPTION…] ACTION",
  about: "Ask policy whether you, or somebody else, may do something, without doing it",
  options,
  operands: { min: 1, max: 1, name: "ACTION" },
  notes: [
    `Actions: ${actions.join(", ")}.`,
    "Exits 0 when it would be allowed, 1 when not, also where a person would be asked.",
  ],
  examples: [
    "aether policy check submit_job -c timeout_ms=8d",
    "aether policy check --as agent:aurora start_job -c network=allowlist -c cpus_milli=1000",
  ],
  async run({ values, operands: [action], json, terminal: { out }, connect }) {
    const question = checkPolicy.request.safeParse({
      action,
      resource: toResource(values),
      ...(values.as !== undefined && { as: values.as, ...(values.role.length > 0 && { roles: values.role }) }),
      context: Object.fromEntries(
        Object.entries(toPairs("--context", values.context)).map(([k, v]) => [k, parseFact(k, v)]),
      ),
    });
    if (!question.success) {
      const [fault] = question.error.issues;
      throw new UsageError(`${fault?.path.join(".")}: ${fault?.message}`);
    }
    const answer = await (await connect()).policy.check(question.data);
    const { decision } = answer;
    const colour = decision === "allow" ? "green" : decision === "ask" ? "yellow" : "red";
    if (json) printJson(out, answer);
    else {
      out.line(`${out.paint(colour, decision)}: ${visible(answer.reason)}`);
      out.line(`policies: ${visible(answer.policies.join(", ") || "none")}`);
    }
    return decision === "allow" ? exitCodes.done : exitCodes.no;
  },
});

function toResource({ resource, owner, label }: Values<typeof options>): object | undefined {
  if (resource === undefined) {
    if (owner !== undefined || label.length > 0) throw new UsageError("--owner and --label need --resource");
    return undefined;
  }
  const [type, ...rest] = resource.split("/");
  const id = rest.length > 0 ? { id: rest.join("/") } : {};
  return { type, ...id, ...(owner !== undefined && { owner }), labels: toPairs("--label", label) };
}
