// The warden: ends what no living worker answers for. It knows no bus, no jobs and no clock but the boot clock.
//
// Four times a second it looks at every incarnation's deadline. Once a deadline has passed, the incarnation's whole cgroup
// is killed, again and again until it is empty, then `expired` is written, and the group is killed at every later look as
// well: an expired incarnation never lives again, whatever its worker writes after it woke up. A warden that was down or
// stopped does the same at its first look.
import { existsSync } from "node:fs";
import { isGroupEmpty, killGroup } from "@aether/sandbox/kill";
import {
  bootNowMs,
  type Deadline,
  isExpired,
  readDeadlines,
  removeDeadline,
  writeAlive,
  writeExpired,
} from "./warden.ts";

const LOOK_MS = 250;
/** Sooner again while something is still dying. */
const DYING_LOOK_MS = 20;
/** An expired incarnation is forgotten when a later one has removed its cgroup. */
const FORGET_MS = 60_000;

export interface WardenOptions {
  runDir: string;
  log: (message: string, fields: Record<string, unknown>) => void;
}

export interface Warden extends AsyncDisposable {
  /** Whether an incarnation still has time: as long as one has, its guard must stay. */
  isNeeded(): boolean;
}

export function startWarden({ runDir, log }: WardenOptions): Warden {
  const broken = new Set<string>();
  let living = 0;
  let timer: NodeJS.Timeout | null = null;

  const onBroken = (file: string): void => {
    if (broken.has(file)) return;
    broken.add(file);
    log("a deadline cannot be read, so its incarnation is not guarded", { file });
  };
  const look = (): number => {
    const now = bootNowMs();
    const deadlines = readDeadlines(runDir, onBroken);
    const states = deadlines.map((deadline) => lookAt(runDir, deadline, now, log));
    living = states.filter((state) => state !== "ended").length;
    writeAlive(runDir);
    return states.includes("dying") ? DYING_LOOK_MS : LOOK_MS;
  };
  const loop = (): void => {
    let pauseMs = LOOK_MS;
    try {
      pauseMs = look();
    } catch (error) {
      // Without its sign of life no worker starts anything; the next look may succeed.
      log("a look failed", { error: String(error) });
    }
    timer = setTimeout(loop, pauseMs);
  };
  loop();
  return {
    isNeeded: () => living > 0,
    [Symbol.asyncDispose]: async () => {
      if (timer) clearTimeout(timer);
    },
  };
}

function lookAt(
  runDir: string,
  { incarnation, deadlineMs, group }: Deadline,
  now: number,
  log: WardenOptions["log"],
): "living" | "dying" | "ended" {
  const wasEnded = isExpired(runDir, incarnation);
  if (now < deadlineMs && !wasEnded) return "living";
  if (!isGroupEmpty(group)) {
    log("killing an expired incarnation", { incarnation, group, late_ms: now - deadlineMs });
    killGroup(group);
    if (!isGroupEmpty(group)) return "dying";
  }
  if (!wasEnded) {
    log("an incarnation has expired", { incarnation });
    writeExpired(runDir, incarnation);
  }
  if (now > deadlineMs + FORGET_MS && !existsSync(group)) removeDeadline(runDir, incarnation);
  return "ended";
}
