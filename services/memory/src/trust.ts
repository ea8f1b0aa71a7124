// How far a text may be trusted: the least of what its writer, its source and everything it was made of allow. A claim can
// lower it; nothing raises it, so that what came from outside stays what it is however often it is written again.

import { type Principal, type Trust, trustLevels } from "@aether/contracts";
import { originOf } from "./source.ts";

const ofWriter: Record<Principal["type"], Trust> = {
  User: "user",
  Agent: "agent",
  Job: "tool",
  Worker: "tool",
  Service: "tool",
};

/** The least trusted of them. */
export function leastTrust(levels: readonly Trust[]): Trust {
  return trustLevels[Math.max(0, ...levels.map((level) => trustLevels.indexOf(level)))] ?? "untrusted";
}

/** What a writer may give at most, with a source and a lineage beside entries. */
export function trustOf(
  writer: Principal["type"],
  {
    source,
    jobId,
    derivedFrom,
    claim,
  }: { source: string | null; jobId: string | null; derivedFrom: readonly string[]; claim: Trust | undefined },
): Trust {
  const origin = originOf(source);
  const isMade =
    jobId !== null || origin === "artifact" || derivedFrom.some((origin) => origin.startsWith("artifact:"));
  return leastTrust([
    ofWriter[writer],
    ...(origin === "elsewhere" ? ["untrusted" as const] : []),
    ...(isMade ? ["tool" as const] : []),
    ...(claim ? [claim] : []),
  ]);
}
