// Descriptors that whoever started us left open would be every service's too; a service has those that it opened.
import { closeSync, readdirSync, readFileSync } from "node:fs";

const closeOnExec = 0o2000000;

/** Closes every inherited descriptor beyond the standard ones. */
export function closeInherited(): void {
  for (const fd of readdirSync("/proc/self/fd").map(Number)) {
    if (fd > 2 && isInherited(fd)) closeSync(fd);
  }
}

/** What Node opens is closed on exec, so what is not was there before. */
function isInherited(fd: number): boolean {
  try {
    const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1];
    return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0;
  } catch {
    // The descriptor that listed the others is closed by now.
    return false;
  }
}
