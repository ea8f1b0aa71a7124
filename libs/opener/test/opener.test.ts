import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { tempDir } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Credentials, createOpener, FileRefused, type Opener, startOpener } from "../src/index.ts";

const run = promisify(execFile);
const missing = process.getuid?.() === 0 ? null : "other users need root";
const ada: Credentials = { uid: 41_001, gid: 41_001, groups: [] };
const ben: Credentials = { uid: 41_002, gid: 41_002, groups: [] };
const services = 41_009;
const name = "art_01kas4f8m2d6f8h0k2n4q6s8v0";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts).toString();
}

async function* textFrom(text: string) {
  yield Buffer.from(text);
}

describe.skipIf(missing)(`the opener${missing ? `: ${missing}` : ""}`, () => {
  const folder = tempDir();
  const socketPath = join(folder.path, "opener.sock");
  const filesDir = join(folder.path, "files");
  const refusedPeers: { uid: number }[] = [];
  let server: AsyncDisposable;
  let opener: Opener;

  beforeAll(async () => {
    chmodSync(folder.path, 0o755);
    mkdirSync(filesDir, { mode: 0o711 });
    chmodSync(filesDir, 0o711);
    const onRefused = (peer: { uid: number }) => void refusedPeers.push(peer);
    server = await startOpener({ socketPath, uid: services, filesDir, env: {}, onRefused });
    opener = createOpener({ socketPath, filesDir });
  });
  afterAll(async () => {
    opener[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  function file(path: string, text: string, owner: { uid: number; gid: number }, mode: number): string {
    const at = join(folder.path, path);
    writeFileSync(at, text);
    chownSync(at, owner.uid, owner.gid);
    chmodSync(at, mode);
    return at;
  }

  it("reads with a user's uid, gid and groups, and with no others", async () => {
    const own = file("own", "own", ada, 0o400);
    const group = file("group", "group", { uid: 0, gid: ada.gid }, 0o040);
    const shared = file("shared", "shared", { uid: 0, gid: 4_711 }, 0o040);
    expect(await textOf(opener.read(ada, own, 100))).toBe("own");
    expect(await textOf(opener.read(ada, group, 100))).toBe("group");
    expect(await textOf(opener.read({ ...ada, groups: [4_711] }, shared, 100))).toBe("shared");
    for (const [as, path] of [
      [ben, own],
      [ben, group],
      [ada, shared],
    ] as const)
      await expect(textOf(opener.read(as, path, 100))).rejects.toThrow(new FileRefused("you may not read it"));
  });

  it("reads many files at a time, each whole", async () => {
    const text = "x".repeat(3_000_000);
    const path = file("large", text, ada, 0o400);
    const read = await Promise.all(Array.from({ length: 8 }, () => textOf(opener.read(ada, path, text.length))));
    expect(read.every((one) => one === text)).toBe(true);
    await expect(textOf(opener.read(ada, path, text.length - 1))).rejects.toThrow(/larger than/);
  });

  it("refuses a file that grows while it is read, and serves on", async () => {
    const path = file("growing", "x".repeat(8_000_000), ada, 0o600);
    let chunks = 0;
    const reading = async () => {
      for await (const _ of opener.read(ada, path, 2 ** 30)) if (chunks++ === 0) appendFileSync(path, "more");
    };
    await expect(reading()).rejects.toThrow(new FileRefused("the file changed while it was read"));
    expect(await textOf(opener.read(ada, join(folder.path, "own"), 100))).toBe("own");
  });

  it("places a file that its user alone reads, once, and makes it good again", async () => {
    let sent = 0;
    const placing = (text: string) => ({
      ...{ name, sha256: sha256(text), sizeBytes: text.length, freeFloorBytes: 0 },
      chunks: () => {
        sent++;
        return textFrom(text);
      },
    });
    const path = await opener.place(ada, placing("bytes"));
    expect(lstatSync(path)).toMatchObject({ uid: ada.uid, size: 5, mode: 0o100400 });
    expect(lstatSync(join(filesDir, String(ada.uid)))).toMatchObject({ uid: ada.uid, mode: 0o040700 });
    expect(await opener.place(ada, placing("bytes"))).toBe(path);
    expect(sent).toBe(1);
    chmodSync(path, 0o600);
    await opener.place(ada, placing("bytes"));
    expect(sent).toBe(2);
    await opener.place(ben, placing("bytes"));
    expect(readdirSync(filesDir).sort()).toEqual([String(ada.uid), String(ben.uid)]);
    expect(await opener.forget([])).toEqual([name]);
    expect(await opener.forget([name, "../../own"])).toEqual([]);
    expect(await textOf(opener.read(ada, join(folder.path, "own"), 100))).toBe("own");
  });

  it("places nothing of bytes that are not those of the digest, and nothing where there is no room", async () => {
    const wrong = { name, sha256: sha256("other"), sizeBytes: 5, freeFloorBytes: 0, chunks: () => textFrom("bytes") };
    await expect(opener.place(ada, wrong)).rejects.toThrow();
    await expect(opener.place(ada, { ...wrong, freeFloorBytes: 2 ** 60 })).rejects.toThrow(/no room/);
    expect(readdirSync(join(filesDir, String(ada.uid)))).toEqual([]);
  });

  it("does not enter a folder that is not its user's own", async () => {
    const mallory = { uid: 41_003, gid: 41_003, groups: [] };
    mkdirSync(join(filesDir, "41003"), { mode: 0o777 });
    const placing = { name, sha256: sha256("x"), sizeBytes: 1, freeFloorBytes: 0, chunks: () => textFrom("x") };
    await expect(opener.place(mallory, placing)).rejects.toThrow(/not a closed folder/);
  });

  it("is open to the services' account and to nobody else", async () => {
    const script = `require("net").connect(${JSON.stringify(socketPath)}).on("connect", () => process.exit(0)).on("error", (e) => { console.log(e.code); process.exit(1) })`;
    const connect = (uid: number) => run("setpriv", [`--reuid=${uid}`, "--clear-groups", "node", "-e", script]);
    await expect(connect(services)).resolves.toBeDefined();
    await expect(connect(ada.uid)).rejects.toMatchObject({ stdout: "EACCES\n" });
    chmodSync(socketPath, 0o666);
    await connect(ada.uid);
    await expect.poll(() => refusedPeers.map(({ uid }) => uid)).toEqual([ada.uid]);
    chmodSync(socketPath, 0o600);
  });
});

it("without an opener, files are opened for the own user alone", async () => {
  using folder = tempDir();
  const own: Credentials = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, groups: [] };
  using opener = createOpener({ socketPath: null, filesDir: folder.path });
  writeFileSync(join(folder.path, "file"), "text");
  expect(await textOf(opener.read(own, join(folder.path, "file"), 10))).toBe("text");
  await expect(textOf(opener.read({ ...own, uid: own.uid + 1 }, join(folder.path, "file"), 10))).rejects.toThrow(
    /only files of/,
  );
  const placing = { name, sha256: sha256("x"), sizeBytes: 1, freeFloorBytes: 0, chunks: () => textFrom("x") };
  expect(await opener.place(own, placing)).toBe(join(folder.path, String(own.uid), name));
  expect(await opener.forget([name])).toEqual([]);
});
