// Residents: who comes back to the same uid and the same files, and reaches the sockets of one folder and no others.
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { tempDir } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NoRoom, type Sandbox, type SandboxSpec, SandboxUnavailable } from "../src/index.ts";
import { createScript, describeDrivers, MIB, runJob } from "./_drivers.ts";

const disk = { diskBytes: 16 * MIB };

describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  describeDrivers("residents", (driver, place) => {
    const folder = tempDir();
    beforeAll(() => chmodSync(folder.path, 0o711));
    afterAll(() => folder[Symbol.dispose]());

    const socketsOf = (name: string) => {
      const sockets = join(folder.path, name);
      mkdirSync(sockets, { recursive: true, mode: 0o700 });
      return sockets;
    };
    const as = (name: string, script: string, limits: Partial<SandboxSpec["limits"]> = {}) =>
      createScript(script, { resident: { name, sockets: socketsOf(name) }, limits: { ...disk, ...limits } });
    const said = async (spec: SandboxSpec) => (await runJob(driver(), spec)).stdout.trimEnd();
    const imageOf = (name: string) => {
      const [image = ""] = readdirSync(join(place.stateDir, "kept")).filter((file) => file.startsWith(`${name}.`));
      return join(place.stateDir, "kept", image);
    };
    const refusal = async (spec: SandboxSpec) => {
      const prepared: Sandbox | Error = await driver()
        .prepare(spec)
        .catch((error: Error) => error);
      if (!(prepared instanceof Error)) await prepared[Symbol.asyncDispose]();
      return prepared;
    };

    it("find /workspace as they left it, also after a passing sandbox, and /outputs and /tmp empty", async () => {
      expect(await said(as("ann", "echo hers >note; echo x >/outputs/x; echo x >/tmp/x"))).toBe("");
      expect(await said(createScript("ls", { limits: disk }))).toBe("");
      expect(await said(as("ann", "cat note; ls /outputs /tmp /inputs; echo more >>note"))).toBe(
        "hers\n/inputs:\n\n/outputs:\n\n/tmp:",
      );
      expect(await said(as("ann", "cat note; stat -c '%u %a' note ."))).toBe("hers\nmore\n1000 644\n1000 700");
    });

    it("have a uid of their own on the host, always the same, that no passing sandbox has", async () => {
      await said(as("ann", "true"));
      await said(as("bob", "true"));
      const [anns, bobs] = ["ann", "bob"].map((name) => statSync(socketsOf(name)).gid);
      expect(anns).not.toBe(bobs);
      await said(as("ann", "true"));
      expect(statSync(socketsOf("ann")).gid).toBe(anns);
      expect(readdirSync(join(place.stateDir, "kept")).sort()).toEqual(["ann.0.img", "bob.1.img"]);
      expect(statSync(imageOf("ann")).mode & 0o777).toBe(0o600);
    });

    it("are one sandbox at a time, and the next one comes in when it has ended", async () => {
      const first = await driver().prepare(as("ann", "sleep 100"));
      const other = await driver().prepare(as("bob", "true"));
      await other[Symbol.asyncDispose]();
      expect(await refusal(as("ann", "true"))).toBeInstanceOf(NoRoom);
      const next = driver().prepare(as("ann", "true"));
      await first[Symbol.asyncDispose]();
      await (await next)[Symbol.asyncDispose]();
    });

    it("write as much as their disk holds, more when it has grown, and are refused when it should shrink", async () => {
      const fill = "head -c 40m /dev/zero >big 2>/dev/null; stat -c %s big; rm big";
      const small = Number(await said(as("cat", `echo kept >note; ${fill}`)));
      expect(small).toBeLessThan(16 * MIB);
      const large = Number(await said(as("cat", fill, { diskBytes: 32 * MIB })));
      expect([large > 16 * MIB, large < 32 * MIB]).toEqual([true, true]);
      expect(await refusal(as("cat", "true"))).toMatchObject({
        problems: [{ cause: `The kept disk has ${32 * MIB} bytes, more than ${16 * MIB}.` }],
      });
      expect(await said(as("cat", "cat note", { diskBytes: 32 * MIB }))).toBe("kept");
    });

    it("are refused on a disk that is damaged beyond mending, which stays", async () => {
      await said(as("dan", "echo x >x"));
      const fd = openSync(imageOf("dan"), "r+");
      writeSync(fd, Buffer.alloc(MIB), 0, MIB, 0);
      const refused = await refusal(as("dan", "true"));
      expect(refused).toBeInstanceOf(SandboxUnavailable);
      expect(refused).toMatchObject({ problems: [{ cause: "The kept disk is damaged." }] });
      expect(statSync(imageOf("dan")).size).toBe(16 * MIB);
      rmSync(imageOf("dan"));
    });

    it("reach the sockets in their folder at /run/aether, also those made later, and change nothing there", async () => {
      const path = join(socketsOf("eve"), "door.sock");
      const server = createServer((_request, response) => response.end("hello"));
      const sandbox = await driver().prepare(
        as("eve", "curl -s --unix-socket /run/aether/door.sock http://x; rm /run/aether/door.sock; ls /run/aether"),
      );
      await once(server.listen(path), "listening");
      chmodSync(path, 0o666);
      let output = "";
      sandbox.stdout.on("data", (chunk: Buffer) => {
        output += chunk;
      });
      sandbox.release();
      await sandbox.exited;
      await sandbox[Symbol.asyncDispose]();
      expect(output).toBe("hellodoor.sock\n");
      expect(statSync(path).isSocket()).toBe(true);
      await new Promise((resolve) => server.close(resolve));
    });

    it("are shown no folder that is a link, is missing, or is not of who has the folder around it", async () => {
      symlinkSync("/etc", join(folder.path, "link"));
      const at = (sockets: string) => createScript("true", { resident: { name: "fay", sockets }, limits: disk });
      const etc = statSync("/etc");
      expect(String(await refusal(at(join(folder.path, "link"))))).toMatch(/ENOTDIR|ELOOP/);
      expect(String(await refusal(at(join(folder.path, "nowhere"))))).toMatch(/ENOENT/);
      const foreign = socketsOf("foreign");
      chownSync(foreign, 41_001, 41_001);
      expect(String(await refusal(at(foreign)))).toMatch(/is not of who has the folder around it/);
      expect(statSync("/etc")).toMatchObject({ gid: etc.gid, mode: etc.mode });
      expect(statSync(foreign).gid).toBe(41_001);
    });

    it("have names that are names", async () => {
      for (const name of ["", "..", "a/b", "A", "a.b", "x".repeat(33)]) {
        const spec = createScript("true", { resident: { name, sockets: folder.path }, limits: disk });
        expect(String(await refusal(spec)), name).toMatch(/resident's name/);
      }
    });
  });
});
