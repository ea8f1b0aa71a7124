// The folders of a layout with their owners and modes, made or put right at every start, and looked at by the doctor. As
// root only the stores of the core belong to `aether`; keys and jobs are root's alone, and no folder that root writes into
// belongs to anybody else, so that nobody can lead root astray there.
import { chmodSync, chownSync, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Layout } from "@aether/contracts";
import { type Account, accountName } from "./account.ts";

export interface Folder {
  path: string;
  mode: number;
  uid: number;
  gid: number;
}

/** What a folder of the layout must be; `account` is null where nobody switches users. */
export function foldersOf(layout: Layout, account: Account | null): Folder[] {
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const closed = (owner: Account) => (path: string) => ({ path, mode: 0o700, ...owner });
  if (!account) return allOf(layout).map(closed(own));
  return [
    ...(layout.home === null ? [] : [{ path: layout.home, mode: 0o755, ...own }]),
    { path: layout.runDir, mode: 0o755, ...own },
    { path: layout.dataDir, mode: 0o711, ...own },
    { path: ownPoliciesDir(layout), mode: 0o755, ...own },
    // Passed through by the users whose folders are in it, and looked into by nobody.
    { path: layout.artifactsDir, mode: 0o711, ...own },
    // Each agent's sandbox passes through it, to its own folder there and to no other.
    { path: layout.agentsDir, mode: 0o711, ...account },
    { path: layout.logDir, mode: 0o750, uid: own.uid, gid: account.gid },
    ...[layout.keysDir, layout.jobsDir, workerRunDir(layout)].map(closed(own)),
    ...coreStores(layout).map(closed(account)),
  ];
}

/** Where worker and warden meet. */
export function workerRunDir(layout: Layout): string {
  return `${layout.runDir}/worker`;
}

/** Where the core asks for files of other users to be opened. */
export function openerSocket(layout: Layout): string {
  return `${layout.runDir}/opener.sock`;
}

/** The owner's policies: the core reads them and must not write them. */
export function ownPoliciesDir(layout: Layout): string {
  return `${layout.dataDir}/policies`;
}

/** The second place of the audit log's signed checkpoints. */
export function checkpointsDir(layout: Layout): string {
  return `${layout.logDir}/audit`;
}

/** The keys that secrets are kept under; root's, as everything there. */
export function secretsKeyFile(layout: Layout): string {
  return `${layout.keysDir}/secrets.keys`;
}

/** Makes what is missing and puts owners and modes right; throws where a folder is not ours to change. */
export function makeFolders(folders: readonly Folder[], account: Account | null): void {
  for (const folder of folders) {
    mkdirSync(folder.path, { recursive: true, mode: 0o700 });
    const found = lstatSync(folder.path);
    if (!found.isDirectory()) throw new Error(`${folder.path} is not a folder; move it away`);
    assertOurs(folder.path, found, account);
    if (found.uid !== folder.uid || found.gid !== folder.gid) chownSync(folder.path, folder.uid, folder.gid);
    if ((found.mode & 0o7777) !== folder.mode) chmodSync(folder.path, folder.mode);
  }
  if (account) for (const folder of folders) assertReachable(folder.path, account);
}

/** What is wrong with a folder, in words; null when it is as it must be. */
export function folderFault(folder: Folder): string | null {
  const found = lstatSync(folder.path, { throwIfNoEntry: false });
  if (!found) return `${folder.path} is missing`;
  if (!found.isDirectory()) return `${folder.path} is not a folder`;
  if (found.uid !== folder.uid || found.gid !== folder.gid) {
    return `${folder.path} belongs to ${found.uid}:${found.gid} and not to ${folder.uid}:${folder.gid}`;
  }
  const mode = found.mode & 0o7777;
  return mode === folder.mode ? null : `${folder.path} has mode ${octal(mode)} and not ${octal(folder.mode)}`;
}

function allOf(layout: Layout): string[] {
  const { home, runDir, dataDir, logDir, keysDir, jobsDir, artifactsDir, agentsDir } = layout;
  const within = [
    runDir,
    dataDir,
    logDir,
    keysDir,
    jobsDir,
    artifactsDir,
    agentsDir,
    workerRunDir(layout),
    ownPoliciesDir(layout),
  ];
  within.push(...coreStores(layout));
  return home === null ? within : [home, ...within];
}

function coreStores(layout: Layout): string[] {
  const { natsDir, policyDir, viewsDir, memoryDir, auroraDir } = layout;
  return [natsDir, policyDir, viewsDir, memoryDir, auroraDir, checkpointsDir(layout)];
}

function assertOurs(path: string, found: Stats, account: Account | null): void {
  const own = process.getuid?.() ?? 0;
  if (found.uid === own || found.uid === account?.uid) return;
  throw new Error(`${path} belongs to user ${found.uid}; remove it or choose another folder with --home`);
}

/** The folder above this path that the account may not pass through, or null. */
export function findObstacle(path: string, account: Account): string | null {
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    const { mode, uid, gid } = statSync(parent);
    const passes = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    if ((mode & passes) === 0) return parent;
    if (parent === "/") return null;
  }
}

function assertReachable(path: string, account: Account): void {
  const obstacle = findObstacle(path, account);
  if (obstacle === null) return;
  throw new Error(
    `user ${accountName} cannot enter ${obstacle}, which holds ${path}; choose another folder with --home`,
  );
}

const octal = (mode: number) => mode.toString(8).padStart(4, "0");
