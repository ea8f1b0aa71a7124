// What worker and warden tell each other: files in <run dir>/warden (0700), each replaced as a whole.
//
//   <incarnation>.deadline   by the worker: until when, on the boot clock, it answers for its processes, and their cgroup;
//                            written before the first process exists, moved only by an acknowledged renewal
//   <incarnation>.expired    by the warden: the deadline has passed and every process of the incarnation is gone; final
//   warden.alive             by the warden: when it last looked
//
// The boot clock counts on while the machine sleeps and is never set. Files that an earlier boot left name cgroups that
// are gone. Nothing here loads more than Node itself: the warden lives in this module.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, normalize } from "node:path";

const DEADLINE = ".deadline";
const EXPIRED = ".expired";
const ALIVE = "warden.alive";

/** Until when an incarnation may live. */
export interface Deadline {
  incarnation: string;
  deadlineMs: number;
  /** The absolute path of its cgroup. */
  group: string;
}

/** Milliseconds since boot, suspended time included, to a hundredth of a second. */
export function bootNowMs(): number {
  return Math.round(Number.parseFloat(readFileSync("/proc/uptime", "latin1")) * 1000);
}

/** Moves an incarnation's deadline; `group` is `groupPath` of @aether/sandbox. */
export function writeDeadline(runDir: string, incarnation: string, deadlineMs: number, group: string): void {
  assert.match(incarnation, /^[a-z0-9_-]{1,100}$/, "an incarnation's name is a file's name");
  assert(isGroupOfIncarnation(group), "a deadline names the absolute path of the incarnation's cgroup");
  replace(runDir, incarnation + DEADLINE, `${Math.round(deadlineMs)} ${group}\n`);
}

/** Whether the warden ended this incarnation: then it must start nothing any more. */
export function isExpired(runDir: string, incarnation: string): boolean {
  return existsSync(join(folder(runDir), incarnation + EXPIRED));
}

/** Takes back what was written about an incarnation whose processes are all gone. */
export function removeDeadline(runDir: string, incarnation: string): void {
  for (const suffix of [DEADLINE, EXPIRED]) rmSync(join(folder(runDir), incarnation + suffix), { force: true });
}

/** When the warden last looked, on the boot clock; null when it never did. */
export function readWardenAlive(runDir: string): number | null {
  const text = readIfThere(join(folder(runDir), ALIVE));
  return text === null ? null : Number(text);
}

/** The warden's own: says that it looked. */
export function writeAlive(runDir: string): void {
  replace(runDir, ALIVE, `${bootNowMs()}\n`);
}

/** The warden's own: says that an incarnation was ended. */
export function writeExpired(runDir: string, incarnation: string): void {
  replace(runDir, incarnation + EXPIRED, `${bootNowMs()}\n`);
}

/** Every deadline; a file that is none is reported to `onBroken`, because nobody guards what it should name. */
export function readDeadlines(runDir: string, onBroken: (file: string) => void): Deadline[] {
  mkdirSync(folder(runDir), { recursive: true, mode: 0o700 });
  const files = readdirSync(folder(runDir)).filter((name) => name.endsWith(DEADLINE));
  return files.flatMap((file) => {
    const text = readIfThere(join(folder(runDir), file));
    if (text === null) return [];
    const [, deadline = "", group = ""] = /^(\d+) (.+)\n$/.exec(text) ?? [];
    if (deadline !== "" && isGroupOfIncarnation(group)) {
      return [{ incarnation: file.slice(0, -DEADLINE.length), deadlineMs: Number(deadline), group }];
    }
    onBroken(file);
    return [];
  });
}

function folder(runDir: string): string {
  return join(runDir, "warden");
}

/** Nothing but one of our own groups is ever killed, whatever a file says. */
function isGroupOfIncarnation(group: string): boolean {
  return normalize(group) === group && /^\/.*\/aether-[^/]+\/[^/]+$/.test(group);
}

/** A reader sees the old content or the new one, never a part. */
function replace(runDir: string, name: string, text: string): void {
  mkdirSync(folder(runDir), { recursive: true, mode: 0o700 });
  const path = join(folder(runDir), name);
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}
