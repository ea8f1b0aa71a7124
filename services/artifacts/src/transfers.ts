// The transfers that are going on: each has a secret, belongs to the caller that began it, and is given up when nothing
// happens on it for a while. They live in this process: whoever finds his gone begins anew.
import { randomBytes } from "node:crypto";
import type { Call } from "@aether/bus";
import { limits, ProblemError, principalName } from "@aether/contracts";

/** What is let go when a transfer is over. */
export interface Held {
  end(): Promise<void>;
}

export interface Transfers<T extends Held> extends AsyncDisposable {
  /** Answers the secret. */
  open(call: Pick<Call, "caller" | "principal">, held: T): string;
  /** Throws where the caller has, or all have, as many as there may be. */
  requireRoom(call: Pick<Call, "caller" | "principal">): void;
  /** What the secret stands for; throws `conflict` for a wrong one, also for another caller's. */
  use(call: Pick<Call, "caller" | "principal">, secret: string): T;
  /** Takes it out: the caller ends it. */
  take(call: Pick<Call, "caller" | "principal">, secret: string): T;
}

interface Open<T> {
  owner: string;
  held: T;
  timer: NodeJS.Timeout;
}

export function createTransfers<T extends Held>(idleMs: number, onError: (error: unknown) => void): Transfers<T> {
  const open = new Map<string, Open<T>>();
  const ownerOf = ({ caller, principal }: Pick<Call, "caller" | "principal">) =>
    `${caller} ${principalName(principal)}`;

  function find(call: Pick<Call, "caller" | "principal">, secret: string): Open<T> {
    const found = open.get(secret);
    if (!found || found.owner !== ownerOf(call))
      throw new ProblemError("conflict", { detail: "this transfer is over; begin it anew" });
    return found;
  }

  return {
    requireRoom(call) {
      const owner = ownerOf(call);
      const carriesMany = call.principal.type === "Worker" || call.principal.type === "Service";
      if (carriesMany && open.size < limits.transfersMax) return;
      const own = [...open.values()].filter((one) => one.owner === owner).length;
      if (own < limits.transfersPerCallerMax && open.size < limits.transfersMax) return;
      throw new ProblemError("too-many-requests", { detail: "too many transfers at a time", retry_after_ms: 1000 });
    },
    open(call, held) {
      const secret = randomBytes(16).toString("hex");
      const giveUp = () => {
        open.delete(secret);
        held.end().catch(onError);
      };
      open.set(secret, { owner: ownerOf(call), held, timer: setTimeout(giveUp, idleMs) });
      return secret;
    },
    use(call, secret) {
      const { held, timer } = find(call, secret);
      timer.refresh();
      return held;
    },
    take(call, secret) {
      const { held, timer } = find(call, secret);
      clearTimeout(timer);
      open.delete(secret);
      return held;
    },
    async [Symbol.asyncDispose]() {
      const all = [...open.values()];
      open.clear();
      for (const { timer } of all) clearTimeout(timer);
      await Promise.allSettled(all.map(({ held }) => held.end()));
    },
  };
}
