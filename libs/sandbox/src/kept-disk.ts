// Disks that outlive their sandboxes: one image for each resident of this host, with a journal, checked before it is mounted. Its
// name says whose it is and which of the residents' uids its files have; a place that an image has is nobody else's.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { diskTool, runTool } from "./disk-tool.ts";
import { NoRoom, SandboxUnavailable } from "./driver.ts";
import type { Uids } from "./uid.ts";

/** An end is told before its disk is unmounted. */
const PATIENCE_MS = 2_000;
const pattern = /^([a-z0-9-]{1,32})\.(\d{1,4})\.img$/;

/** A resident whose disk and uid are taken. */
export interface Residency {
  image: string;
  uid: number;
  /** Lets the next sandbox of this resident have them. */
  leave(): void;
}

export interface Residents {
  /** Waits for a sandbox that is just ending, and throws NoRoom while one has them. */
  enter(name: string): Promise<Residency>;
}

/** The residents whose images are in this folder, which is root's alone. */
export function openResidents(folder: string, uids: Pick<Uids, "resident">): Residents {
  const present = new Set<string>();
  return {
    async enter(name) {
      const giveUpAt = performance.now() + PATIENCE_MS;
      while (present.has(name) && performance.now() < giveUpAt) await delay(20);
      if (present.has(name)) {
        const mend = "Wait until it has ended, or stop it.";
        throw new NoRoom([{ cause: `A sandbox of ${name} runs already, and it has one folder.`, mend }]);
      }
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const place = findPlace(folder, name);
      const uid = uids.resident(place);
      if (uid === null) {
        const mend = `Remove images from ${folder} whose residents are gone.`;
        throw new SandboxUnavailable([{ cause: "No uid is left for another resident.", mend }]);
      }
      present.add(name);
      return { image: join(folder, `${name}.${place}.img`), uid, leave: () => present.delete(name) };
    },
  };
}

/** The place that its image names, or the first that none does. */
function findPlace(folder: string, name: string): number {
  const images = readdirSync(folder).flatMap((file) => {
    const [, owner = "", place] = pattern.exec(file) ?? [];
    return place === undefined ? [] : [{ owner, place: Number(place) }];
  });
  const own = images.find(({ owner }) => owner === name);
  if (own) return own.place;
  const taken = new Set(images.map(({ place }) => place));
  let free = 0;
  while (taken.has(free)) free++;
  return free;
}

/** Makes the image with `format` where there is none; else checks it, and lets it grow to that size. */
export async function requireKept(
  image: string,
  sizeBytes: number,
  format: (path: string) => Promise<void>,
): Promise<void> {
  if (!existsSync(image)) {
    // Under its name it is whole.
    const unfinished = `${image}.new`;
    rmSync(unfinished, { force: true });
    await format(unfinished);
    await rename(unfinished, image);
    return;
  }
  const { size } = statSync(image);
  if (size > sizeBytes) {
    const mend = `Ask for at least ${size} bytes, or remove ${image} with all that is in it.`;
    throw new SandboxUnavailable([{ cause: `The kept disk has ${size} bytes, more than ${sizeBytes}.`, mend }]);
  }
  await check(image, size < sizeBytes ? ["-f"] : []);
  if (size < sizeBytes) {
    truncateSync(image, sizeBytes);
    await diskTool("resize2fs", [image], "Run: apt-get install e2fsprogs");
  }
}

/** What a crash left is mended; what cannot be mended by itself is a refusal. */
async function check(image: string, how: string[]): Promise<void> {
  try {
    await runTool("e2fsck", ["-p", ...how, image]);
  } catch (error) {
    const mended = 1;
    if (error instanceof Error && "code" in error && error.code === mended) return;
    const mend = `Look at it with: e2fsck ${image}`;
    throw new SandboxUnavailable([{ cause: "The kept disk is damaged.", mend }], { cause: error });
  }
}
