import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { actions, createToken, formatDuration, limits } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, Failure, UsageError } from "../failure.ts";
import { printJson } from "../terminal.ts";
import { fromBinding, toBinding, toCapability } from "../token-words.ts";

const options = {
  ttl: { type: "text", value: "TIME", about: `How long it counts (${formatDuration(limits.tokenMaxMs)}, the longest)` },
  bind: {
    type: "text",
    value: "NAME",
    about: "Whose calls it counts for: user:1000, agent:aurora; your own if absent",
  },
  write: { type: "text", short: "w", value: "FILE", about: "Write it to this new file that only you can read" },
} as const satisfies Options;

export const tokenCreate = defineCommand({
  usage: "token create [OPTION…] ACTION[,ACTION…][:ID|:OWNER]…",
  about: "Make a capability token: whoever comes with it may do only this, and never more than without it",
  options,
  operands: { min: 1, max: limits.tokenCapabilities, name: "ACTION" },
  notes: [
    "With `:ID` only about that thing, with `:OWNER` (user:1000) only about what is theirs. Use it with --token-file.",
    `Actions: ${actions.join(", ")}.`,
  ],
  examples: [
    "aether token create -w job.token read_job,read_logs:job_01k…",
    "aether --token-file job.token logs job_01k…",
    "aether token create --ttl 5m --bind agent:aurora submit_job,read_job,read_logs",
  ],
  async run({ values, operands, json, terminal: { out, err }, connect }) {
    const wanted = createToken.request.safeParse({
      capabilities: operands.map(toCapability),
      ...(values.ttl !== undefined && { ttl: values.ttl }),
      ...(values.bind !== undefined && { bind: toBinding(values.bind) }),
    });
    if (!wanted.success) {
      const [fault] = wanted.error.issues;
      throw new UsageError(`${fault?.path.join(".")}: ${fault?.message}`);
    }
    const client = await connect();
    const { token, ...made } = await client.tokens.create(wanted.data, { idempotencyKey: `cli-${randomUUID()}` });
    if (values.write !== undefined) {
      writeSecret(values.write, token);
      if (json) printJson(out, made);
      else out.line(made.id);
    } else if (json) printJson(out, { ...made, token });
    else out.line(token);
    if (err.isTerminal) err.line(err.paint("dim", `${made.id} for ${fromBinding(made.bind)} until ${made.expires_at}`));
    return exitCodes.done;
  },
});

function writeSecret(file: string, token: string): void {
  try {
    writeFileSync(file, `${token}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw new Failure(`the token could not be written to ${file}: ${error instanceof Error ? error.message : error}`);
  }
}
