// What a job finds around it: the host's /usr read-only, its own /proc, a handful of devices, a synthetic /etc, an empty
// /inputs, and three places to write: /workspace and /outputs on its disk, /tmp in its memory. All else is read-only.
//
// /dev has no terminals (a job has none), and /dev/shm is /tmp, so that shared memory and semaphores work and are charged.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** The user inside; outside it is the sandbox's own uid, or the caller where he is not root. */
export const INNER_UID = 1000;
export const HOST_NAME = "job";
// Each is a mount of its own; the two random devices have been the same since Linux 5.6.
const devices = ["null", "zero", "full", "urandom"];
const deviceLinks = {
  ...{ fd: "/proc/self/fd", stdin: "fd/0", stdout: "fd/1", stderr: "fd/2" },
  ...{ random: "urandom", shm: "/tmp" },
};
const ALTERNATIVES = "/etc/alternatives";
const systemFolders = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const overflow = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

const etcFiles: Readonly<Record<string, string>> = {
  passwd: `job:x:${INNER_UID}:${INNER_UID}:job:/workspace:/bin/sh\n${overflow}`,
  group: `job:x:${INNER_UID}:\nnogroup:x:65534:\n`,
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
  hosts: `127.0.0.1 localhost ${HOST_NAME}\n::1 localhost\n`,
  hostname: `${HOST_NAME}\n`,
};

/** Writes the /etc that all sandboxes share; answers its folder. */
export function writeEtc(folder: string): string {
  const etc = join(folder, "etc");
  mkdirSync(etc, { recursive: true });
  for (const [name, text] of Object.entries(etcFiles)) writeFileSync(join(etc, name), text);
  mkdirSync(join(etc, "alternatives"), { recursive: true });
  // Libraries outside the loader's default folders; a name in it that is gone is passed over.
  if (existsSync("/etc/ld.so.cache")) copyFileSync("/etc/ld.so.cache", join(etc, "ld.so.cache"));
  // Whatever this process's umask: the job's uid reads all of it.
  for (const entry of readdirSync(etc, { withFileTypes: true })) {
    chmodSync(join(etc, entry.name), entry.isDirectory() ? 0o755 : 0o644);
  }
  chmodSync(etc, 0o755);
  return etc;
}

/** bwrap's arguments for everything that is the same in every sandbox of this host. */
export function constantMounts(etc: string): string[] {
  return [
    ...["--ro-bind", "/usr", "/usr", ...systemFolders.flatMap(bindSystemFolder)],
    ...["--proc", "/proc", "--perms", "0755", "--dir", "/dev"],
    ...devices.flatMap((name) => ["--dev-bind", `/dev/${name}`, `/dev/${name}`]),
    ...Object.entries(deviceLinks).flatMap(([name, target]) => ["--symlink", target, `/dev/${name}`]),
    ...["--ro-bind", etc, "/etc"],
    // Debian's commands point through these links, e.g. awk to mawk.
    ...(existsSync(ALTERNATIVES) ? ["--ro-bind", ALTERNATIVES, ALTERNATIVES] : []),
    ...["--dir", "/inputs"],
  ];
}

/** /bin and its like: a link into /usr, or on older systems a folder of its own. */
function bindSystemFolder(name: string): string[] {
  const path = `/${name}`;
  let found: Stats;
  try {
    found = lstatSync(path);
  } catch {
    return [];
  }
  return found.isSymbolicLink() ? ["--symlink", readlinkSync(path), path] : ["--ro-bind", path, path];
}
