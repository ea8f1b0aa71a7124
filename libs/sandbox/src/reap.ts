// Ending what earlier incarnations of an instance left on this host: processes, cgroups, mounts, images. A new incarnation
// does this before it takes work. Nothing of another instance is touched: every place carries the instance's name.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findMounts, instanceGroup, listBases } from "./cgroups.ts";
import { discard } from "./disk.ts";
import { removeGroupTree, removeIfEmpty } from "./group.ts";
import { emptyGroup, listGroups } from "./kill.ts";
import { instanceFolders, type PlaceOptions } from "./places.ts";

const EMPTY_TIMEOUT_MS = 30_000;
const ATTEMPTS = 20;

export interface ReapOptions extends PlaceOptions {
  /** The incarnation that is spared. */
  incarnation: string;
}

/** Answers the incarnations that were ended. Throws when a process of one cannot be killed. */
export async function reapIncarnations(options: ReapOptions): Promise<string[]> {
  const bases = listBases(findMounts()).map((base) => join(base, instanceGroup(options.instance)));
  const folders = instanceFolders(options);
  const found = [...bases.flatMap(listGroups), ...listFolders(folders.images), ...listFolders(folders.shared)];
  const incarnations = [...new Set(found)].filter((name) => name !== options.incarnation);
  for (const incarnation of incarnations) {
    const groups = bases.map((base) => join(base, incarnation));
    for (const group of groups) await endGroup(group);
    for (const group of groups) await removeGroupTree(group);
    await removeDisks(join(folders.shared, incarnation), join(folders.images, incarnation));
  }
  for (const folder of [...bases, folders.images, folders.shared]) removeIfEmpty(folder);
  return incarnations;
}

/** A process that was caught between two hierarchies is in only one of them, so each is emptied. */
async function endGroup(group: string): Promise<void> {
  if (!(await emptyGroup(group, EMPTY_TIMEOUT_MS))) throw new Error(`processes in ${group} cannot be killed`);
}

/** A mount that the killed worker had just asked for may still appear, so this looks again while something resists. */
async function removeDisks(shared: string, images: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    for (const mountPoint of listMountsBelow(shared)) {
      await discard({ mountPoint, image: join(images, `${basename(mountPoint)}.img`) });
    }
    try {
      // Never through a mount: rm would end at it with EBUSY, after the files of an unused disk at worst.
      await rm(shared, { recursive: true, force: true });
      await rm(images, { recursive: true, force: true });
      return;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
    await delay(50);
  }
}

function listMountsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((mountPoint) => mountPoint.startsWith(`${folder}/`));
}

function listFolders(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}
