// The folder of sockets that a resident is shown. It lies among those of others, in a folder that is not root's, so it is opened by
// its descriptor, never by a path that could have changed, and only where it belongs to who has the folder around it.
import { closeSync, constants, fchmodSync, fchownSync, fstatSync, lstatSync, openSync } from "node:fs";
import { dirname } from "node:path";

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

/** Lets the group of a uid pass through the folder; who runs as that uid alone, and the folder's owner, reach what is in it. */
export function openToResident(folder: string, uid: number): void {
  const fd = openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    const { uid: owner, gid } = fstatSync(fd);
    if (owner !== lstatSync(dirname(folder)).uid) throw new Error(`${folder} is not of who has the folder around it`);
    if (gid !== uid) fchownSync(fd, owner, uid);
    fchmodSync(fd, 0o750);
  } finally {
    closeSync(fd);
  }
}
