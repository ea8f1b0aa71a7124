import {
  actions,
  checkPolicy,
  type DecisionContext,
  parseDurationMs,
  parseSizeBytes,
  resourceTypes,
} from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { printJson } from "../terminal.ts";
import { visible } from "../text.ts";

const options = {
  resource: { type: "text", value: "TYPE[/ID]", about: `What it is about: ${resourceTypes.join(", ")}` },
  owner: { type: "text", value: "NAME", about: "Whose it is: user:1000" },
  context: {
    type: "list",
    short: "c",
    value: "K=V",
    about: "A fact about the act: timeout_ms=8d, memory_bytes=2g, pool=default",
  },
} as const satisfies Options;

export const policyCheck = defineCommand({
  usage: "policy check [OPTION…] ACTION",
  about: "Ask policy whether you may do something, without doing it",
  options,
  operands: { min: 1, max: 1, name: "ACTION" },
  notes: [`Actions: ${actions.join(", ")}.`, "Exits 0 when it would be allowed, 1 when not."],
  examples: ["aether policy check submit_job -c timeout_ms=8d"],
  async run({ values, operands: [action], json, terminal: { out }, connect }) {
    const question = checkPolicy.request.safeParse({
      action,
      resource: toResource(values.resource, values.owner),
      context: Object.fromEntries(
        Object.entries(toPairs("--context", values.context)).map(([k, v]) => [k, toFact(k, v)]),
      ),
    });
    if (!question.success) {
      const [fault] = question.error.issues;
      throw new UsageError(`${fault?.path.join(".")}: ${fault?.message}`);
    }
    const answer = await (await connect()).policy.check(question.data);
    const isAllowed = answer.decision === "allow";
    if (json) printJson(out, answer);
    else {
      out.line(`${out.paint(isAllowed ? "green" : "red", answer.decision)}: ${visible(answer.reason)}`);
      out.line(`policies: ${visible(answer.policies.join(", ") || "none")}`);
    }
    return isAllowed ? exitCodes.done : exitCodes.no;
  },
});

function toResource(text: string | undefined, owner: string | undefined): object | undefined {
  if (text === undefined) {
    if (owner !== undefined) throw new UsageError("--owner needs --resource");
    return undefined;
  }
  const [type, ...rest] = text.split("/");
  return { type, ...(rest.length > 0 && { id: rest.join("/") }), ...(owner !== undefined && { owner }) };
}

/** Numbers and booleans as such; a duration or a size where the fact's name says its unit. */
function toFact(name: string, text: string): DecisionContext[string] {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  if (text === "true" || text === "false") return text === "true";
  const converted = name.endsWith("_ms")
    ? parseDurationMs(text)
    : name.endsWith("_bytes")
      ? parseSizeBytes(text)
      : null;
  return converted ?? text;
}
