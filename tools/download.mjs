// download.mjs URL SHA256 FILE: fetches one file and keeps it only when its digest is the pinned one.
// Used by the launcher: Node is on the machine by then, curl or wget may not be.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";

const [url, sha256, file] = process.argv.slice(2);
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(300_000) });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== sha256) throw new Error(`sha256 is ${digest}, pinned is ${sha256}: not used`);
  writeFileSync(file, bytes);
} catch (error) {
  console.error(`${url}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
