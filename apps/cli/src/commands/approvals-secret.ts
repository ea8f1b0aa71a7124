import { askLine, isPerson } from "../ask-line.ts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, Failure, UsageError } from "../failure.ts";
import { readSecret } from "../read-secret.ts";
import { printJson } from "../terminal.ts";

const options = {
  clear: { type: "flag", about: "There is none any more; then nobody under your uid can answer what it asked" },
  of: { type: "text", value: "USER", about: "With --clear, somebody else's, such as user:1000; for operators" },
  "secret-fd": { type: "text", value: "N", about: "Read the new secret from this descriptor, not from the terminal" },
  "old-fd": { type: "text", value: "N", about: "The same of the one before, where there is one" },
} as const satisfies Options;

export const approvalsSecret = defineCommand({
  usage: "approvals secret [OPTION…]",
  about: "Set the secret by which you prove that it is you who answers, where a program under your own uid asks",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: [
    "Set it before you start such a program: the first one who sets it is believed, and changing it needs the one before.\n" +
      "It is kept as a salted hash. An operator with another uid may clear it.",
  ],
  examples: ["aether approvals secret", "aether approvals secret --clear --of user:1000"],
  async run({ values, json, terminal, stdin, connect }) {
    const { clear, of, "secret-fd": secretFd, "old-fd": oldFd } = values;
    if (of !== undefined && !clear) throw new UsageError("--of goes with --clear");
    const asker = { stdin, err: terminal.err };
    const asks = isPerson(asker);
    const old = await readOld();
    const secret = clear ? null : await readNew();
    const client = await connect();
    const told = await client.approvals.setSecret({
      secret,
      ...(old !== undefined && { old }),
      ...(of !== undefined && { of }),
    });
    if (json) printJson(terminal.out, told);
    else
      terminal.out.line(told.is_set ? `the secret of ${told.principal} is set` : `${told.principal} has no secret now`);
    return exitCodes.done;

    async function readOld(): Promise<string | undefined> {
      if (oldFd !== undefined) return readSecret(asker, oldFd, "");
      if (of !== undefined || !asks || secretFd !== undefined) return undefined;
      return (await askLine(asker, "The secret so far (nothing where there is none): ", { hidden: true })) || undefined;
    }

    async function readNew(): Promise<string> {
      const first = await readSecret(asker, secretFd, "New secret: ");
      if (secretFd !== undefined) return first;
      if ((await readSecret(asker, undefined, "Once more: ")) !== first) throw new Failure("the two are not the same");
      return first;
    }
  },
});
