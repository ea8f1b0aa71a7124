// Where one incarnation keeps its files. As root, what a job's uid must pass through lies under /run, which everybody may
// enter but not list; elsewhere a parent folder closed to others would close the way.
import { chmodSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT_PLACE = "/run/aether-sandbox";

export interface PlaceOptions {
  instance: string;
  stateDir: string;
  runDir: string;
}

/** Disk images and shared files of every incarnation of an instance. */
export function instanceFolders(options: PlaceOptions): { images: string; shared: string } {
  const shared = process.getuid?.() === 0 ? join(ROOT_PLACE, options.instance) : join(options.runDir, "sandbox");
  return { images: join(options.stateDir, "disks"), shared };
}

/** The same of one incarnation, with the folder of its mount points. */
export function incarnationFolders(options: PlaceOptions & { incarnation: string }) {
  const { images, shared } = instanceFolders(options);
  const own = join(shared, options.incarnation);
  return { images: join(images, options.incarnation), shared: own, mounts: join(own, "disks") };
}

/** Makes a folder of this incarnation and its parents so that a job's uid can pass through them, whatever our umask. */
export function makePassable(folder: string): void {
  mkdirSync(folder, { recursive: true });
  if (process.getuid?.() !== 0) return;
  for (let path = folder; path.startsWith(ROOT_PLACE); path = dirname(path)) chmodSync(path, 0o711);
}
