// Giving up root for good. What serves others starts as root only to open what root alone may open (its key, its log, the
// socket) and to load its code, which may lie where nobody else may look; then it becomes the account's, with no way back.
import { flushCompileCache } from "node:module";
import type { Account } from "./account.ts";

/** Becomes the account; nothing of root's is left. Does nothing without an account. */
export function dropPrivileges(account: Account | null): void {
  if (!account) return;
  // The cache of compiled code is root's, and from here on it could not be written.
  flushCompileCache();
  process.setgroups?.([]);
  process.setgid?.(account.gid);
  process.setuid?.(account.uid);
  if (process.getuid?.() !== account.uid || process.geteuid?.() !== account.uid) {
    throw new Error("the privileges of root could not be given up");
  }
}
