// Whose quota is meant: `user:1000` and `agent:aurora` as they are, a number as that user, a name as the user who has it here.
import { readFileSync } from "node:fs";
import { QuotaPrincipal } from "@aether/contracts";
import { UsageError } from "./failure.ts";

/** The principal that a word means; throws UsageError where it means none. */
export function toQuotaPrincipal(word: string, passwd = () => readFileSync("/etc/passwd", "utf8")): string {
  const said = /^\d+$/.test(word) ? `user:${word}` : word.includes(":") ? word : `user:${uidOf(word, passwd())}`;
  const principal = QuotaPrincipal.safeParse(said);
  if (!principal.success) throw new UsageError(`'${word}' ${principal.error.issues[0]?.message}`);
  return principal.data;
}

function uidOf(name: string, passwd: string): string {
  const [, , uid] =
    passwd
      .split("\n")
      .find((line) => line.startsWith(`${name}:`))
      ?.split(":") ?? [];
  if (uid === undefined) throw new UsageError(`There is no user '${name}' here; an agent is meant by 'agent:${name}'`);
  return uid;
}
