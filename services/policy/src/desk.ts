// Where questions wait for people: what is asked, answered, allowed for longer and taken back, over what policy remembers. It is opened
// after the audit log, so that an instance that was replaced can record nothing any more and allow nothing by what it remembers.
import type { Bus } from "@aether/bus";
import type { Logger } from "@aether/telemetry";
import { type Answering, createAnswering } from "./answering.ts";
import { type Approvals, openApprovals } from "./approvals.ts";
import { type Asking, createAsking } from "./asking.ts";
import type { AuditLog } from "./audit-log.ts";
import type { Engine } from "./engine.ts";
import { type Grants, openGrants } from "./grants.ts";
import { type HumanSecrets, openHumanSecrets } from "./human-secret.ts";
import type { People } from "./people.ts";
import { openRemembered, type Remembered } from "./remembered.ts";

const tidyEveryMs = 1000;

export interface Desk extends AsyncDisposable {
  readonly approvals: Approvals;
  readonly grants: Grants;
  readonly secrets: HumanSecrets;
  readonly asking: Asking;
  readonly answering: Answering;
  /** What is kept in KV `grants`, for whatever else is kept there. */
  readonly permissions: Remembered;
  /** Nothing has to be answered for this job any more; what cannot be stored is left to end by itself. */
  jobEnded(jobId: string): Promise<void>;
  /** Settles when another instance writes what this one remembers. */
  readonly superseded: Promise<string>;
}

export async function openDesk(parts: {
  bus: Bus;
  engine: Pick<Engine, "judge">;
  log: Pick<AuditLog, "append">;
  operators: People;
  clock: { now(): Date };
  logger: Logger;
  /** Told how a question ended, and after which time. */
  onEnd(how: string, waitedMs: number): void;
}): Promise<Desk> {
  const { bus, clock, logger } = parts;
  const [questions, permissions] = [await openRemembered(bus, "approvals"), await openRemembered(bus, "grants")];
  const kept = {
    approvals: openApprovals(questions),
    grants: openGrants(permissions),
    secrets: openHumanSecrets(permissions),
  };
  const asking = createAsking({ ...parts, ...kept });
  const answering = createAnswering({ ...parts, ...kept });
  const tidy = async () => {
    await answering.expire();
    await kept.approvals.tidy(clock.now());
    await kept.grants.tidy(clock.now());
  };
  const ticking = startTicking(tidy, (error) => logger.warn({ err: error }, "approvals could not be tidied"));
  return {
    ...kept,
    asking,
    answering,
    permissions,
    jobEnded: (jobId) =>
      answering.jobEnded(jobId).catch((error: unknown) => {
        logger.warn({ err: error, job_id: jobId }, "what an ended job had asked could not be withdrawn");
      }),
    superseded: Promise.race([questions.ledger.superseded, permissions.ledger.superseded]).then(
      () => "another instance writes the approvals and grants",
    ),
    async [Symbol.asyncDispose]() {
      await ticking[Symbol.asyncDispose]();
      await kept.grants.tidy(clock.now(), { storeUses: true }).catch((error: unknown) => {
        logger.warn({ err: error }, "the last uses of grants could not be stored");
      });
    },
  };
}

/** Runs it again and again, one after the other; told of the first of equal failures. */
function startTicking(act: () => Promise<void>, onFailure: (error: unknown) => void): AsyncDisposable {
  const state = { timer: undefined as NodeJS.Timeout | undefined, ended: false, failed: false };
  let running: Promise<void> = Promise.resolve();
  const tick = () => {
    running = act()
      .then(
        () => {
          state.failed = false;
        },
        (error: unknown) => {
          if (!state.failed) onFailure(error);
          state.failed = true;
        },
      )
      .then(() => {
        if (!state.ended) state.timer = setTimeout(tick, tidyEveryMs).unref();
      });
  };
  state.timer = setTimeout(tick, tidyEveryMs).unref();
  return {
    async [Symbol.asyncDispose]() {
      state.ended = true;
      clearTimeout(state.timer);
      await running;
    },
  };
}
