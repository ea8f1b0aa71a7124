// The demo's steps about what stays: a job that is given an artifact and leaves two, and a document that is found again with
// the place where its words stand, also after it was changed.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Client } from "@aether/client";
import type { Artifact, Job, MemoryHit } from "@aether/contracts";
import { heading, held, type Stage, typedCommand } from "./demo-stage.ts";
import { Failure } from "./failure.ts";
import { formatBytes } from "./format.ts";
import { checkout } from "./place.ts";
import { visible } from "./text.ts";

const file = "README.md";
const words = `awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^[a-z]+$/) n[$i]++ } END { for (w in n) print n[w] "," w }' /inputs/${file}`;
const script = `${words} | sort -t, -k1,1nr -k2 | head -n 20 >/outputs/words.csv; wc -l </inputs/${file} >/outputs/lines.txt`;

/** Shows an artifact that goes into a job, and those that come out of it, as files of this machine. */
export async function showArtifacts({ out, progress, found }: Stage, client: Client): Promise<void> {
  heading(out, "Artifacts");
  typedCommand(out, `aether artifacts put ${file}`);
  const local = path.join(checkout, file);
  const given = await client.artifacts.put(createReadStream(local), { name: file, type: "text/markdown" });
  requireSame(given, readFileSync(local));
  held(out, `${given.id}  ${formatBytes(given.size_bytes)}  sha256 ${given.sha256.slice(0, 16)}…`);

  typedCommand(out, `aether run --input ${given.id}:/inputs/${file} -- sh -ec '…'`);
  progress.say("a job reads it and writes two files");
  const job = await client.jobs.submit(
    {
      command: ["sh", "-ec", script],
      inputs: [{ artifact: given.id, path: `/inputs/${file}` }],
      resources: { memory: "64MiB", cpus: 0.5, disk: "16MiB" },
      timeout: "30s",
    },
    { wait: "30s" },
  );
  progress.clear();
  if (job.state !== "succeeded") throw new Failure(`the job ended ${job.state}: ${job.reason ?? job.message ?? ""}`);
  const { items } = await client.artifacts.list({ job_id: job.id });
  for (const name of ["lines.txt", "words.csv"]) await showOutput(out, client, items, name);
  Object.assign(found, { artifacts: [given, ...items], artifacts_job: job satisfies Job });
}

async function showOutput(out: Stage["out"], client: Client, items: readonly Artifact[], name: string): Promise<void> {
  const item = items.find((one) => one.name === name);
  const placed = item && (await client.artifacts.get(item.id)).path;
  if (!item || !placed) throw new Failure(`the job left no ${name}`);
  const bytes = readFileSync(placed);
  requireSame(item, bytes);
  const [first = ""] = bytes.toString("utf8").split("\n");
  held(out, `${name.padEnd(9)}  ${item.id}  ${visible(first).trim()}${name.endsWith(".csv") ? " …" : ""}`);
  out.line(`    ${out.paint("dim", placed)}`);
}

function requireSame({ id, sha256 }: Artifact, bytes: Uint8Array): void {
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== sha256) throw new Failure(`${id} is ${sha256}, but the bytes here are ${digest}`);
}

const passage = "The key hangs behind the kitchen door. Ben has the second one.";
const document = `# Rubbish

It goes out on Tuesday evening.

# Boat shed

${passage}

# Boiler

It is serviced in October.
`;
const question = "where is the key to the boat shed";

/** Shows a document that is kept, found, changed, and found again: the citation says what became of the words. */
export async function showMemory({ out, found }: Stage, client: Client, folder: string): Promise<void> {
  heading(out, "Memory");
  const notes = path.join(folder, "house.md");
  writeFileSync(notes, document);
  typedCommand(out, "aether memory add -f house.md");
  const entry = await client.memory.add({ kind: "document", path: notes });
  held(out, `${entry.id}  ${entry.lines} lines, word for word`);

  typedCommand(out, `aether memory search ${question}`);
  const look = async (state: MemoryHit["citation"]["state"], what: string): Promise<MemoryHit> => {
    const [hit] = (await client.memory.search({ q: question, k: 1 })).results;
    const [first = 0, last = 0] = hit?.citation.lines ?? [];
    const words = readFileSync(notes, "utf8")
      .split("\n")
      .slice(first - 1, last)
      .join("\n");
    if (hit?.citation.state !== state || (state !== "stale" && !words.includes(passage)))
      throw new Failure(`the citation should be ${state}, and is ${hit?.citation.state} at ${hit?.citation.ref}`);
    held(out, `${what}: ${out.paint("bold", path.basename(hit.citation.ref))}  ${state}`);
    return hit;
  };
  const fresh = await look("fresh", "found");
  out.line(`    ${out.paint("dim", `… ${visible(passage)}`)}`);
  writeFileSync(notes, `Read this first.\n\n${document}`);
  const moved = await look("moved", "after two lines came above it");
  writeFileSync(notes, document.replace(passage, "The key is lost."));
  const stale = await look("stale", "after its words were changed");
  Object.assign(found, { memory: [fresh, moved, stale] });
}
