// Our own tools on a sandbox's disk: confined as the job is, and ended with it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, it } from "vitest";
import type { Room, Sandbox } from "../src/index.ts";
import { createScript, describeDrivers } from "./_drivers.ts";

describeDrivers("tools", (driver) => {
  async function ended(script: string): Promise<{ sandbox: Sandbox; room: Room } & AsyncDisposable> {
    const sandbox = await driver().prepare(createScript(script));
    sandbox.release();
    await sandbox.exited;
    sandbox.kill();
    expect(await sandbox.empty(10_000)).toBe(true);
    if (!sandbox.room) throw new Error("a sandbox of root has a room");
    return { sandbox, room: sandbox.room, [Symbol.asyncDispose]: () => sandbox[Symbol.asyncDispose]() };
  }
  const shell = (room: Room, script: string, options = {}) => room.run(["sh", "-c", script], options);

  it("read what the job left, as its uid, and see nothing else", async () => {
    await using left = await ended("echo mine >/outputs/a; umask 077; echo own >/workspace/b");
    const tool = shell(
      left.room,
      "cat /outputs/a /workspace/b; id -u; ls /home /root /run 2>/dev/null; cat /proc/net/dev | wc -l",
    );
    expect(await text(tool.stdout)).toBe("mine\nown\n1000\n3\n");
    await tool.ended;
  });

  it("keep what they wrote for whoever reads it after their end", async () => {
    await using left = await ended("echo mine >/outputs/a");
    const tool = left.room.run(["cat", "/outputs/a"]);
    await tool.ended;
    expect(await text(tool.stdout)).toBe("mine\n");
  });

  it("write only where they are told that they may, and are given their input", async () => {
    await using left = await ended("true");
    await expect(shell(left.room, "echo x >/workspace/c").ended).rejects.toThrow(/Read-only file system/);
    async function* input() {
      yield Buffer.from("given");
    }
    await shell(left.room, "cat >/workspace/c", { stdin: input(), writes: true }).ended;
    const read = shell(left.room, "cat /workspace/c");
    expect(await text(read.stdout)).toBe("given");
    await expect(shell(left.room, "echo why >&2; exit 3").ended).rejects.toThrow(/exit 3: why/);
  });

  it("end when the job's tree is killed, and hold up its end no longer", async () => {
    const left = await ended("true");
    const tool = shell(left.room, "echo begun; exec sleep 600");
    const failed = expect(tool.ended).rejects.toThrow(/SIGKILL|137/);
    await new Promise((resolve) => tool.stdout.once("data", resolve));
    left.sandbox.kill();
    await failed;
    await left[Symbol.asyncDispose]();
  });

  it("fill its disk before it runs; what they throw, nothing of it runs", async () => {
    const fill = async ({ inputs, workspace }: Room) => {
      writeFileSync(join(inputs, "in"), "read me", { mode: 0o444 });
      writeFileSync(join(workspace, "own"), "there", { mode: 0o644 });
    };
    await using sandbox = await driver().prepare({
      ...createScript("cat /inputs/in /workspace/own; touch /inputs/x"),
      fill,
    });
    const [out, err] = [text(sandbox.stdout), text(sandbox.stderr)];
    sandbox.release();
    expect([await out, await err]).toEqual(["read methere", expect.stringContaining("Read-only file system")]);
    const broken = async () => {
      throw new Error("no input");
    };
    await expect(driver().prepare({ ...createScript("true"), fill: broken })).rejects.toThrow("no input");
  });
});
