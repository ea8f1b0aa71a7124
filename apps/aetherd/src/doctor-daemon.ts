// The doctor's look at what runs: the daemon, its services as the socket tells them, and the running nats-server.
import { existsSync } from "node:fs";
import type { Layout } from "@aether/contracts";
import type { AetherdConfig } from "./config.ts";
import { type Check, fail, ok, warn } from "./doctor-check.ts";
import { findProgram, isAtLeast, oldestVersion, readVarz, readVersion, syncMend } from "./nats-server.ts";
import { readHealth } from "./ready.ts";
import { type DaemonState, readState } from "./state.ts";

export async function checkNatsServer(config: AetherdConfig): Promise<Check> {
  const mend = `install nats-server ${oldestVersion} or newer and name it in AETHER_NATS_SERVER; ./aether setup brings one`;
  let program: string;
  try {
    program = findProgram(config.AETHER_NATS_SERVER, config.PATH);
  } catch {
    // It says the same as the mend.
    return fail("nats-server", `${config.AETHER_NATS_SERVER} is missing`, mend);
  }
  const version = await readVersion(program);
  if (version === null) return fail("nats-server", `${program} cannot be run`, mend);
  if (!isAtLeast(version)) return fail("nats-server", `${program} is version ${version}`, mend);
  return ok("nats-server", `version ${version}`);
}

export async function checkDaemon(layout: Layout): Promise<Check[]> {
  const state = readState(layout);
  if (!state || !existsSync(`/proc/${state.pid}`)) return [notRunning(layout, state)];
  const restarted = state.processes.filter(({ restarts }) => restarts > 0);
  const tried = restarted.map(({ name, restarts }) => `${name} ${restarts} times`).join(", ");
  return [
    ok("aetherd", `pid ${state.pid}, ${state.state} since ${state.started_at}`),
    ...(tried === ""
      ? []
      : [warn("processes", `started again: ${tried}`, `see why in ${layout.logDir}/aetherd.jsonl`)]),
    await checkDurability(state),
    ...(await checkServices(layout)),
  ];
}

function notRunning(layout: Layout, state: DaemonState | null): Check {
  const detail = state ? `pid ${state.pid} has died and left its state behind` : `nothing runs for ${layout.socket}`;
  return warn("aetherd", detail, "start it: aether up");
}

async function checkDurability(state: DaemonState): Promise<Check> {
  const mend = "wait a moment, or look into nats.log";
  if (state.nats_monitor === null) return fail("durability", "nats-server does not listen", mend);
  try {
    const { version, syncsAlways } = await readVarz(state.nats_monitor);
    if (syncsAlways) return ok("durability", `the running nats-server ${version} syncs every write`);
    return fail(
      "durability",
      "the running nats-server does not sync every write: a power loss can lose jobs",
      syncMend,
    );
  } catch (error) {
    return fail("durability", `nats-server does not answer: ${error instanceof Error ? error.message : error}`, mend);
  }
}

async function checkServices(layout: Layout): Promise<Check[]> {
  const health = await readHealth(layout.socket);
  if (!health) {
    const mend = `look into ${layout.logDir}/gateway.jsonl; who is not in the group of the socket may not open it`;
    return [fail("socket", `nobody answers at ${layout.socket}`, mend)];
  }
  return [
    ok("socket", layout.socket),
    ...health.services.flatMap(({ name, up, degraded }) => {
      const mend = `look into the logs in ${layout.logDir}`;
      if (!up) return [fail(name, "does not answer", mend)];
      return degraded.length === 0 ? [ok(name, "up")] : degraded.map((why) => warn(name, why, mend));
    }),
  ];
}
