// libfaketime, by which one process sees another wall clock than its neighbours: the one that is installed, else Debian's
// package, unpacked into a folder and not installed.
import { spawnSync } from "node:child_process";
import { globSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@aether/testkit";

const library = "usr/lib/*/faketime/libfaketimeMT.so.1";

export interface Faketime extends Disposable {
  /** For the process whose clock is to be stepped. Its monotonic clock stays true. */
  environment: Record<string, string>;
  /** Sets that process's wall clock so many seconds before or behind the true one, while it runs. */
  step(seconds: number): void;
}

/** Null when there is none to be had; throws then where AETHER_REQUIRE names it. */
export function openFaketime(): Faketime | null {
  const folder = tempDir();
  const found = globSync(`/${library}`)[0] ?? download(folder.path);
  if (!found) {
    folder[Symbol.dispose]();
    if ((process.env.AETHER_REQUIRE ?? "").split(",").includes("faketime"))
      throw new Error("libfaketime is missing: apt-get install faketime");
    return null;
  }
  const file = join(folder.path, "clock");
  const step = (seconds: number) => writeFileSync(file, `${seconds < 0 ? "" : "+"}${seconds}\n`);
  step(0);
  return {
    environment: {
      LD_PRELOAD: found,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
    step,
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

function download(folder: string): string | undefined {
  const fetched = spawnSync("apt-get", ["download", "libfaketime"], { cwd: folder, timeout: 30_000 });
  const [archive] = fetched.status === 0 ? globSync(join(folder, "*.deb")) : [];
  if (!archive || spawnSync("dpkg-deb", ["-x", archive, folder]).status !== 0) return undefined;
  rmSync(archive);
  return globSync(join(folder, library))[0];
}
