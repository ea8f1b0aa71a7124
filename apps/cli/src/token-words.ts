// What a token allows, as people write and read it: `read_job,read_logs:job_01k…` is one capability.
import type { Capability, TokenBinding } from "@aether/contracts";
import { UsageError } from "./failure.ts";

/** The capability that the words name; whether its parts are valid is the contract's business. */
export function toCapability(words: string): Record<string, unknown> {
  const colon = words.indexOf(":");
  const [names, about] = colon < 0 ? [words, undefined] : [words.slice(0, colon), words.slice(colon + 1)];
  const actions = names.split(",");
  if (about === undefined) return { actions };
  return about.includes(":") ? { actions, owner: about } : { actions, id: about };
}

/** The same words again. */
export function fromCapability({ actions, id, owner }: Capability): string {
  return [actions.join(","), id, owner].filter((word) => word !== undefined).join(":");
}

/** Whose calls it counts for, from `user:1000` or `agent:aurora`. */
export function toBinding(name: string): TokenBinding {
  const [type, id = ""] = name.split(":");
  if (type === "user" && /^\d{1,10}$/.test(id)) return { uid: Number(id) };
  if (type === "agent" && id !== "") return { agent: id };
  throw new UsageError(`--bind: '${name}' is neither user:NUMBER nor agent:NAME`);
}

export function fromBinding(bind: TokenBinding): string {
  return "agent" in bind ? `agent:${bind.agent}` : `user:${bind.uid}`;
}
