// A test that needs a backend says so. Where the backend is missing the test is reported as skipped with the reason, unless
// AETHER_REQUIRE names the backend: then its absence fails.
import { spawnSync } from "node:child_process";

export type BackendName = "nats" | "bubblewrap" | "pdftotext";

const probes: Record<BackendName, () => string | null> = {
  nats: () =>
    spawnSync(natsServerPath(), ["--version"]).status === 0 ? null : "nats-server is missing: run ./aether setup",
  bubblewrap: () => {
    if (spawnSync("bwrap", ["--version"]).status !== 0) return "bubblewrap is missing: apt-get install bubblewrap";
    return process.getuid?.() === 0 ? null : "sandbox tests need root";
  },
  pdftotext: () =>
    spawnSync("pdftotext", ["-v"]).status === null ? "pdftotext is missing: apt-get install poppler-utils" : null,
};

/** The nats-server to start: the one the launcher found, else the one on PATH. */
export function natsServerPath(): string {
  return process.env.AETHER_NATS_SERVER ?? "nats-server";
}

/** Null when the backend is there; else the reason to skip. Throws when AETHER_REQUIRE names it. */
export function requireBackend(name: BackendName): string | null {
  const missing = probes[name]();
  if (missing && (process.env.AETHER_REQUIRE ?? "").split(",").includes(name)) throw new Error(missing);
  return missing;
}
