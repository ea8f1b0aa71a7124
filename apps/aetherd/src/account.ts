// The system account that everything but the worker runs under when root starts Aether. It is made when it is missing: a
// name without a home, a shell or a password, whose group's members may use the socket.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

const run = promisify(execFile);
const toolEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };

/** User and group, here and of the account. */
export const accountName = "aether";

export interface Account {
  uid: number;
  gid: number;
}

/** The account by its numbers, or null where it is missing or half there. */
export function findAccount(): Account | null {
  const uid = entry("/etc/passwd")?.[2];
  const gid = entry("/etc/group")?.[2];
  return uid === undefined || gid === undefined ? null : { uid: Number(uid), gid: Number(gid) };
}

/** Finds the account, or makes what is missing of it; only root may. */
export async function requireAccount(): Promise<Account> {
  if (!entry("/etc/group")) await make("groupadd", ["--system", accountName]);
  if (!entry("/etc/passwd")) {
    const shape = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"];
    await make("useradd", [...shape, "--gid", accountName, accountName]);
  }
  const account = findAccount();
  if (!account) throw new Error(`there is no user and group ${accountName}, although both were just made`);
  return account;
}

async function make(tool: string, args: string[]): Promise<void> {
  try {
    await run(tool, args, { env: toolEnvironment });
  } catch (error) {
    const mend = `run as root: groupadd --system ${accountName} && useradd --system --gid ${accountName} ${accountName}`;
    throw new Error(`the system account ${accountName} could not be made; ${mend}`, { cause: error });
  }
}

function entry(file: string): string[] | undefined {
  const line = readFileSync(file, "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${accountName}:`));
  return line?.split(":");
}
