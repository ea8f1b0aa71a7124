// The sockets of agents: each in a folder of its own, which is all of the gateway that the agent's sandbox is shown. Which agents
// there are jobs tells, as soon as it changes: a removed agent's socket and connections are ended, and nobody is it any more.
//
//   <agentsDir>/                     0711, the gateway's
//   <agentsDir>/<name>/              0700; the worker opens it to the agent's own group, whose only member is its sandbox
//   <agentsDir>/<name>/aetherd.sock  0666: who comes this far is the agent
//
// A folder stays as long as its agent: a sandbox that was shown it finds the socket again when the gateway was started anew.
import { chmod, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AgentName } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";

const retryMs = 500;
const brokenRetryMs = 5_000;

interface NamedAgent {
  name: string;
  owner: string;
}

export interface AgentSocketsOptions {
  /** Whose content is the gateway's alone to change; made when it is missing. */
  agentsDir: string;
  /** Answers all agents as soon as they are not those of that version. */
  follow(version: number, signal: AbortSignal): Promise<{ version: number; agents: NamedAgent[] }>;
  /** Serves this agent at a path. */
  listen(path: string, agent: NamedAgent): Promise<AsyncDisposable>;
  log: Logger;
}

/** Makes and ends sockets until disposed. */
export function startAgentSockets(options: AgentSocketsOptions): AsyncDisposable {
  const ended = new AbortController();
  const open = new Map<string, NamedAgent & { listener: AsyncDisposable }>();
  const running = followAgents(options, open, ended.signal);
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await running;
      await Promise.all([...open.values()].map(({ listener }) => listener[Symbol.asyncDispose]()));
    },
  };
}

type Open = Map<string, NamedAgent & { listener: AsyncDisposable }>;

async function followAgents(options: AgentSocketsOptions, open: Open, ended: AbortSignal): Promise<void> {
  const { agentsDir, log } = options;
  let version = 0;
  while (!ended.aborted) {
    try {
      const told = await options.follow(version, ended);
      // An instance that lags behind knows less than what was told already.
      if (told.version <= version) continue;
      await mkdir(agentsDir, { recursive: true, mode: 0o711 });
      const isWhole = await reconcile(options, open, told.agents);
      if (isWhole) ({ version } = told);
      else await delay(brokenRetryMs, undefined, { signal: ended });
    } catch (error) {
      if (ended.aborted) return;
      log.debug({ err: error }, "which agents there are is not known right now");
      await delay(retryMs, undefined, { signal: ended }).catch(() => {});
    }
  }
}

/** Ends what is not wanted any more, then makes what is missing; false when one could not be made. */
async function reconcile(options: AgentSocketsOptions, open: Open, wanted: readonly NamedAgent[]): Promise<boolean> {
  const { agentsDir, log } = options;
  const owners = new Map(wanted.map(({ name, owner }) => [name, owner]));
  for (const { name, owner, listener } of open.values()) {
    if (owners.get(name) === owner) continue;
    open.delete(name);
    await listener[Symbol.asyncDispose]();
    log.info({ agent: name }, "agent's socket ended");
  }
  for (const name of await readdir(agentsDir)) {
    if (!owners.has(name) && AgentName.safeParse(name).success)
      await rm(join(agentsDir, name), { recursive: true, force: true });
  }
  let isWhole = true;
  for (const agent of wanted) {
    if (open.has(agent.name)) continue;
    try {
      const folder = join(agentsDir, agent.name);
      // One that is there keeps its mode and group: a sandbox may have been shown it.
      if (await mkdir(folder, { mode: 0o700 }).then(() => true, ignoreExisting)) await chmod(folder, 0o700);
      open.set(agent.name, { ...agent, listener: await options.listen(join(folder, "aetherd.sock"), agent) });
      log.info({ agent: agent.name, owner: agent.owner }, "agent's socket serves");
    } catch (error) {
      isWhole = false;
      log.error({ err: error, agent: agent.name }, "agent's socket could not be made");
    }
  }
  return isWhole;
}

function ignoreExisting(error: unknown): false {
  if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
  throw error;
}
