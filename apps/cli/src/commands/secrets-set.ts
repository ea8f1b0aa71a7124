import { limits, SecretName } from "@aether/contracts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { readValue, readValueFile, typeValue } from "../secret-value.ts";
import { printJson, type Terminal } from "../terminal.ts";

const options = {
  file: { type: "text", short: "f", value: "FILE", about: "Take the value from this file; `-` is standard input" },
  label: { type: "list", short: "l", value: "K=V", about: "What policies may look at; as before where absent" },
} as const satisfies Options;

export const secretsSet = defineCommand({
  usage: "secrets set [OPTION…] NAME",
  about: "Set a secret: at a terminal the value is typed and not shown, else it is standard input, byte for byte",
  options,
  operands: { min: 1, max: 1, name: "NAME" },
  notes: ["The value cannot be given as an argument: arguments show in everybody's `ps`. It never comes back."],
  examples: [
    "aether secrets set db-password",
    "openssl rand -hex 32 | aether secrets set session-key",
    "aether secrets set deploy-key -f ~/.ssh/deploy && aether run --secret deploy-key -- ssh-keygen -yf /secrets/deploy-key",
  ],
  async run({ values, operands, json, terminal, stdin, connect }) {
    const name = SecretName.safeParse(operands[0]);
    if (!name.success) throw new UsageError(`NAME: ${name.error.issues[0]?.message}`);
    const labels = values.label.length > 0 ? toPairs("--label", values.label) : undefined;
    const value = await readGiven(name.data, values, terminal, stdin);
    try {
      const client = await connect();
      const secret = await client.secrets.set(name.data, value, { labels });
      if (json) printJson(terminal.out, secret);
      else terminal.out.line(secret.name);
    } finally {
      value.fill(0);
    }
    return exitCodes.done;
  },
});

function readGiven(name: string, { file }: Values<typeof options>, { err }: Terminal, stdin: NodeJS.ReadStream) {
  if (file !== undefined && file !== "-") return readValueFile(file, limits.secretBytes);
  if (file === undefined && stdin.isTTY) return typeValue({ stdin, err }, name);
  return readValue(stdin, limits.secretBytes);
}
