// The numbers of the policy service: what was decided, how long it and its record took, and how the log stands.
import { ProblemError } from "@aether/contracts";
import { durationBounds, type Registry } from "@aether/telemetry";
import type { Approvals } from "./approvals.ts";
import type { AuditLog } from "./audit-log.ts";
import type { Decider } from "./decider.ts";

export interface PolicyMetrics {
  /** The decider, counted and timed. */
  decider(decider: Decider): Decider;
  append(tookMs: number, stored: boolean): void;
  watch(log: Pick<AuditLog, "seq" | "checkpointAgeMs">): void;
  watchApprovals(approvals: Pick<Approvals, "pending">): void;
  /** How an approval ended, and how long it waited for that. */
  answered(answer: string, waitedMs: number): void;
}

export function createPolicyMetrics(registry: Registry): PolicyMetrics {
  const decisions = registry.counter("aether.policy.decisions", "{decision}", "Decisions by action and outcome");
  const duration = registry.histogram(
    ...(["aether.policy.duration", "s", "Time of a decision, its record included"] as const),
    durationBounds,
  );
  const appends = registry.histogram(
    ...(["aether.audit.append.duration", "s", "Time until records are stored and synced"] as const),
    durationBounds,
  );
  const waits = registry.histogram(
    ...(["aether.approvals.wait", "s", "From a question to its answer or its end, by which it was"] as const),
    [1, 10, 60, 300, 3600, 86_400],
  );
  const refused = registry.counter("aether.audit.refused", "{append}", "Appends that the audit store did not take");
  return {
    decider: (decider) => ({
      ...decider,
      async decide(request, via) {
        const startedAt = performance.now();
        let outcome = "failed";
        try {
          const reply = await decider.decide(request, via);
          outcome = reply.outcome;
          return reply;
        } catch (error) {
          if (error instanceof ProblemError) outcome = error.slug;
          throw error;
        } finally {
          const attributes = { "aether.action": request.action, "aether.outcome": outcome };
          decisions.add(1, attributes);
          duration.record((performance.now() - startedAt) / 1000, attributes);
        }
      },
    }),
    append(tookMs, stored) {
      if (stored) appends.record(tookMs / 1000);
      else refused.add(1);
    },
    watchApprovals(approvals) {
      registry.gauge(
        "aether.approvals.pending",
        "{approval}",
        "Questions that wait for a person",
        () => approvals.pending().length,
      );
    },
    answered: (answer, waitedMs) => waits.record(waitedMs / 1000, { "aether.answer": answer }),
    watch(log) {
      registry.gauge("aether.audit.seq", "{record}", "Records in the audit log", () => log.seq);
      registry.gauge("aether.audit.checkpoint.age", "s", "Age of the newest signed checkpoint", () =>
        log.checkpointAgeMs === null ? [] : log.checkpointAgeMs / 1000,
      );
    },
  };
}
