// The truth about agents: KV `agents`, one record per name, every change a compare-and-set. Every instance follows the bucket, for
// lists and for the gateway, which makes sockets by it; whether an agent is there is read from the truth.
//
// A record is never deleted: a name stays its first owner's, or what an agent left (jobs, artifacts, memory, its folder) would be
// had by whoever takes the name next.
import { type Bus, type Entry, openBucket, openMirror, RevisionConflict } from "@aether/bus";
import {
  type Agent,
  AgentLimits,
  AgentName,
  limits,
  type Principal,
  ProblemError,
  principalOf,
} from "@aether/contracts";
import { z } from "zod";

const StoredAgent = z.object({
  name: AgentName,
  owner: z.string(),
  limits: AgentLimits,
  created_at: z.iso.datetime(),
  created_by: z.string(),
  removed_at: z.iso.datetime().nullable(),
});
export type StoredAgent = z.infer<typeof StoredAgent>;

export interface Agents extends AsyncDisposable {
  /** From the truth; null where there is none of that name, or none any more. */
  get(name: string): Promise<Entry<StoredAgent> | null>;
  /** Makes it, or makes it again for the same owner; what is there already just so is answered as it is. */
  add(wanted: Omit<StoredAgent, "created_at" | "removed_at">): Promise<Entry<StoredAgent>>;
  remove(known: Entry<StoredAgent>): Promise<Entry<StoredAgent>>;
  /** As this instance has seen them, by name, from behind a name on. */
  list(owner: string | null, after: string | null, limit: number): Entry<StoredAgent>[];
  /** For whom the owner of a job works, where that is an agent. A name is one person's for ever, so what was seen holds. */
  personOf(owner: string): string | undefined;
  /** Counts what this instance has seen of the bucket, from 1. */
  readonly version: number;
}

const triesMax = 20;

/** Opens the register; `onChange` is told when it has seen a change. */
export async function openAgents(bus: Bus, clock: { now(): Date }, onChange: () => void): Promise<Agents> {
  const bucket = openBucket(bus, "agents", StoredAgent);
  const mirror = await openMirror(bus, "agents", StoredAgent, onChange);
  const seen = () => [...mirror.entries()].map(([, entry]) => entry);

  async function write(value: StoredAgent, known: Entry<StoredAgent> | null): Promise<Entry<StoredAgent>> {
    const revision = known
      ? await bucket.update(value.name, value, known.revision)
      : await bucket.create(value.name, value);
    return { value, revision };
  }

  /** One try; null when somebody else wrote in between. */
  async function change(
    name: string,
    apply: (known: Entry<StoredAgent> | null) => StoredAgent | null,
  ): Promise<Entry<StoredAgent> | null> {
    const known = await bucket.get(name);
    const next = apply(known);
    if (!next) return known;
    try {
      return await write(next, known);
    } catch (error) {
      if (error instanceof RevisionConflict) return null;
      throw error;
    }
  }

  async function settle(name: string, apply: (known: Entry<StoredAgent> | null) => StoredAgent | null) {
    for (let tries = 0; tries < triesMax; tries++) {
      const settled = await change(name, apply);
      if (settled) return settled;
    }
    throw new ProblemError("conflict", { detail: "the agent changes too often right now" });
  }

  return {
    async get(name) {
      const entry = await bucket.get(name);
      return entry?.value.removed_at === null ? entry : null;
    },
    add: (wanted) =>
      settle(wanted.name, (known) => {
        if (known && isAsWanted(known.value, wanted)) return null;
        if (known && (known.value.owner !== wanted.owner || known.value.removed_at === null))
          throw new ProblemError("conflict", { detail: `the name ${wanted.name} is taken` });
        if (!known) requireRoom(seen(), wanted.owner);
        return { ...wanted, created_at: clock.now().toISOString(), removed_at: null };
      }),
    remove: ({ value: { name } }) =>
      settle(name, (known) =>
        known && known.value.removed_at === null ? { ...known.value, removed_at: clock.now().toISOString() } : null,
      ),
    list: (owner, after, limit) =>
      seen()
        .filter(({ value }) => value.removed_at === null && (owner === null || value.owner === owner))
        .filter(({ value }) => after === null || value.name > after)
        .sort((a, b) => (a.value.name < b.value.name ? -1 : 1))
        .slice(0, limit),
    personOf: (owner) =>
      owner.startsWith("agent:") ? mirror.get(owner.slice("agent:".length))?.value.owner : undefined,
    get version() {
      return mirror.sequence + 1;
    },
    [Symbol.asyncDispose]: () => mirror[Symbol.asyncDispose](),
  };
}

/** Whom an owner of jobs means: of an agent, also for whom it works; one that is gone has no rights any more. */
export async function principalOfOwner(agents: Pick<Agents, "get">, owner: string): Promise<Principal> {
  const principal = principalOf(owner);
  if (principal.type !== "Agent") return principal;
  const agent = await agents.get(principal.id);
  return agent ? { ...principal, owner: agent.value.owner } : { ...principal, roles: [] };
}

export function toAgent({ value, revision }: Entry<StoredAgent>): Agent {
  const { removed_at: _, ...agent } = value;
  return { id: agent.name, ...agent, revision };
}

function isAsWanted(found: StoredAgent, wanted: Omit<StoredAgent, "created_at" | "removed_at">): boolean {
  const { removed_at, created_at: _, ...rest } = found;
  return (
    removed_at === null &&
    JSON.stringify(StoredAgent.partial().parse(rest)) === JSON.stringify(StoredAgent.partial().parse(wanted))
  );
}

/** Those that were removed count: their names are kept. */
function requireRoom(all: readonly Entry<StoredAgent>[], owner: string): void {
  const own = all.filter(({ value }) => value.owner === owner).length;
  if (own >= limits.agentsPerOwnerMax)
    throw new ProblemError("too-many-requests", {
      detail: `${owner} has had ${own} agents; ${limits.agentsPerOwnerMax} names are what one person may take`,
    });
  if (all.length >= limits.agentsMax)
    throw new ProblemError("too-many-requests", { detail: `there are ${all.length} agents, and more are not kept` });
}
