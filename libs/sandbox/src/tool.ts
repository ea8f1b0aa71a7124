// Our own tools on a sandbox's disk: archives are unpacked and outputs read by programs that are as confined as the job was,
// under its uid and in its cgroup, since what they read is the job's making. They run before the command does, or after its tree
// is empty. Like the job's bwrap they wait for their arguments until they are in the cgroup.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import type { Writable } from "node:stream";
import type { Disk } from "./disk.ts";
import type { Room, Tool, ToolOptions } from "./driver.ts";
import type { Group } from "./group.ts";
import { closeOnExecAll, createPipe } from "./native.ts";
import { INNER_UID } from "./root-file-system.ts";

const ARGUMENTS_FD = 3;
const FILTER_FD = 4;
const MESSAGE_CHARS = 500;
const launcherEnvironment = { PATH: "/usr/bin:/bin" };

export interface RoomParts {
  bwrap: string;
  seccomp: Buffer;
  mounts: readonly string[];
  uid: number;
  disk: Disk;
  group: Group;
}

/** The disk of a sandbox, for tools. */
export function createRoom(parts: RoomParts): Room {
  const { uid, disk } = parts;
  return {
    uid,
    inputs: disk.inputs,
    workspace: disk.workspace,
    outputs: disk.outputs,
    run: (command, options = {}) => run(parts, command, options),
  };
}

function run(
  { bwrap, seccomp, mounts, uid, disk, group }: RoomParts,
  command: readonly string[],
  options: ToolOptions,
): Tool {
  const bind = options.writes ? "--bind" : "--ro-bind";
  const words = [
    ...[
      "--die-with-parent",
      "--new-session",
      "--cap-drop",
      "ALL",
      "--uid",
      String(INNER_UID),
      "--gid",
      String(INNER_UID),
    ],
    ...[...mounts, bind, disk.workspace, "/workspace", bind, disk.outputs, "/outputs", "--remount-ro", "/"],
    ...["--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C"],
    ...["--unshare-user", "--unshare-all", "--seccomp", String(FILTER_FD)],
  ];
  // A pipe of our own: Node throws away what is left in one of its pipes when the process ends.
  const output = createPipe(uid);
  closeOnExecAll();
  const child = spawn(bwrap, ["--args", String(ARGUMENTS_FD), "--", ...command], {
    ...{ cwd: "/", env: launcherEnvironment, detached: true, uid, gid: uid },
    stdio: ["pipe", output.write, "pipe", "pipe", "pipe"],
  });
  closeSync(output.write);
  const stdout = new Socket({ fd: output.read, readable: true, writable: false });
  const [stdin, , stderr, ours, filter] = child.stdio;
  if (!stdin || !stderr || !ours || !filter) throw new Error("a tool has its pipes");
  const started = (async () => {
    if (child.pid === undefined) return; // `ended` tells
    await group.join(child.pid);
    (filter as Writable).end(seccomp);
    (ours as Writable).end(Buffer.from(words.map((word) => `${word}\0`).join("")));
  })();
  for (const pipe of [stdin, ours as Writable, filter as Writable]) pipe.on("error", () => {}); // it has ended, which `ended` tells
  const fed = started.then(() => feed(stdin, options.stdin));
  return { stdout, ended: settle(child, stderr, fed) };
}

async function feed(stdin: Writable, bytes: AsyncIterable<Uint8Array> | undefined): Promise<void> {
  if (bytes) {
    for await (const part of bytes) {
      if (stdin.destroyed || stdin.errored) break;
      if (!stdin.write(part)) await new Promise((resolve) => stdin.once("drain", resolve).once("close", resolve));
    }
  }
  stdin.end();
}

async function settle(child: ChildProcess, stderr: NodeJS.ReadableStream, fed: Promise<void>): Promise<void> {
  let message = "";
  stderr.on("data", (part: Buffer) => {
    message = (message + part).slice(0, MESSAGE_CHARS);
  });
  const exit = new Promise<string | null>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) =>
      resolve(code === 0 ? null : `${signal ?? `exit ${code}`}: ${message.trim()}`),
    );
  });
  try {
    await fed;
  } catch (error) {
    child.kill("SIGKILL");
    await exit;
    throw error;
  }
  const fault = await exit;
  if (fault !== null) throw new Error(`a tool on a sandbox's disk failed: ${fault}`);
}
