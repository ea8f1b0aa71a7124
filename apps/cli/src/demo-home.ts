// A home that belongs to one demo: made in a cache folder, removed afterwards. As root, services run under a user of their
// own, so every folder above it must let others pass.
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Failure } from "./failure.ts";
import type { Environment } from "./invocation.ts";

/** The longest that keeps the socket's path within the kernel's limit. */
const longestBytes = 80;

/** Makes the folder and answers its path; throws Failure where none can be had. */
export function makeDemoHome(env: Environment): string {
  const isRoot = process.getuid?.() === 0;
  const caches = [env.XDG_CACHE_HOME, isRoot ? "/var/cache" : undefined, env.HOME && path.join(env.HOME, ".cache")];
  const folders = [
    ...caches.flatMap((cache) => (cache ? [path.join(cache, "aether")] : [])),
    tmpdir(),
    "/tmp",
    "/var/tmp",
  ];
  for (const folder of folders) {
    if (isUsable(folder, isRoot)) return mkdtempSync(path.join(folder, "demo-"));
  }
  throw new Failure("there is no folder for the demo to live in", {
    next: "set TMPDIR to a folder that you can write",
  });
}

function isUsable(folder: string, mustBeOpen: boolean): boolean {
  if (!path.isAbsolute(folder) || Buffer.byteLength(folder) > longestBytes) return false;
  try {
    if (!existsSync(folder)) mkdirSync(folder, { recursive: true, mode: 0o755 });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return !mustBeOpen || isOpen(folder);
  } catch {
    return false;
  }
}

/** Whether anybody may pass through it and all above it. */
function isOpen(folder: string): boolean {
  for (let at = folder; ; at = path.dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === path.dirname(at)) return true;
  }
}
