// The doctor's look at the host: Node, the account, folders, keys, the disk.
import { existsSync, readdirSync, readFileSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Layout } from "@aether/contracts";
import { accountName, findAccount } from "./account.ts";
import { type Check, fail, ok, warn } from "./doctor-check.ts";
import { folderFault, foldersOf } from "./folders.ts";
import { isAtLeast } from "./nats-server.ts";

const oldestNode = "24.15.0";
const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Below this the jobs service refuses submits. */
const floorBytes = 512 * MIB;
const comfortBytes = 4 * GIB;
const isRoot = () => process.getuid?.() === 0;

export function checkNode(): Check {
  const { node } = process.versions;
  if (isAtLeast(node, oldestNode)) return ok("node", `version ${node}`);
  return fail(
    "node",
    `version ${node}; ${oldestNode} or newer is needed`,
    "start Aether with ./aether, which brings its own",
  );
}

export function checkAccount(): Check {
  if (!isRoot()) return ok("account", `everything runs as user ${process.getuid?.()}, without a user of its own`);
  const account = findAccount();
  if (account) return ok("account", `user ${accountName} is ${account.uid}, group ${accountName} is ${account.gid}`);
  return warn("account", `there is no user or no group ${accountName} yet`, "`aether up` makes them");
}

export function checkFolders(layout: Layout): Check[] {
  const account = isRoot() ? findAccount() : null;
  const mend = "end Aether and start it again: `aether up` puts owners and modes right";
  if (!existsSync(layout.dataDir)) return [ok("folders", `none yet; \`aether up\` makes them under ${layout.dataDir}`)];
  if (isRoot() && !account) return [];
  const faults = foldersOf(layout, account).flatMap((folder) => folderFault(folder) ?? []);
  if (faults.length === 0) return [ok("folders", `owners and modes are right under ${layout.dataDir}`)];
  return faults.map((fault) => fail("folders", fault, mend));
}

/** Who has the same uid is the same person to the kernel, and so to Aether. */
export function checkIdentity(): Check {
  const uid = process.getuid?.() ?? 0;
  const rule = `a program that runs as uid ${uid} outside of a job is you, and may what you may`;
  if (isRoot())
    return ok("identity", `agents and jobs have uids of their own; ${rule} (\`aether agent run\` parts them)`);
  return warn(
    "identity",
    `same_uid: agents and jobs run as uid ${uid}, as you do, and only their sandbox parts them from you; ${rule}`,
    "start programs that are not to be you with `aether agent run`, and Aether as root where they need a uid of their own",
  );
}

/** Optional: without it only PDF documents are refused. */
export function checkDocuments(): Check {
  const folders = ["/usr/local/bin", "/usr/bin"]; // as a job sees them
  if (folders.some((folder) => existsSync(join(folder, "pdftotext")))) return ok("documents", "memory can read PDF");
  return warn("documents", "memory cannot read PDF: there is no pdftotext", "apt-get install -y poppler-utils");
}

export function checkKeys(layout: Layout): Check[] {
  const folder = layout.keysDir;
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    // Not made yet, which the check of the folders tells.
    return [];
  }
  const own = process.getuid?.() ?? 0;
  const open = names.filter((name) => {
    const { mode, uid } = statSync(join(folder, name));
    return (mode & 0o077) !== 0 || uid !== own;
  });
  if (open.length === 0) return [ok("keys", `${names.length} keys, readable by their owner alone`)];
  return [fail("keys", `others may read ${open.join(", ")}`, `chmod 600 and chown ${own} these files in ${folder}`)];
}

export function checkDisk(layout: Layout): Check {
  const folder = nearestFolder(layout.dataDir);
  const stats = statfsSync(folder);
  const freeBytes = stats.bavail * stats.bsize;
  const free = `${(freeBytes / GIB).toFixed(1)} GiB are free under ${folder}${describeReserve(layout)}`;
  const mend = "free some space, or choose a folder on another disk with --home";
  if (freeBytes < floorBytes) return fail("disk", `${free}; submits are refused below ${floorBytes / MIB} MiB`, mend);
  return freeBytes < comfortBytes ? warn("disk", `${free}, which a few jobs can fill`, mend) : ok("disk", free);
}

function describeReserve(layout: Layout): string {
  const file = join(layout.dataDir, "store-bytes");
  if (!existsSync(file)) return "";
  return `; the stores may take ${(Number(readFileSync(file, "utf8")) / GIB).toFixed(1)} GiB in all`;
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path));
}
