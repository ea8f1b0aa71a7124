// The text of a PDF, told by a program that many people have attacked before (poppler's pdftotext), and never by this process:
// in a job as any other, without a network, within small limits. The job and its files are memory's own, decided and recorded
// as such, and the files are deleted when their text is read. A form feed stands between two pages.
import { type Bus, request } from "@aether/bus";
import {
  type Artifact,
  commitUpload,
  createId,
  deleteArtifact,
  downloadArtifact,
  getJob,
  isTerminal,
  type Job,
  type JobSpecInput,
  killJob,
  limits,
  listArtifacts,
  ProblemError,
  principalName,
  sendChunk,
  submitJob,
  uploadArtifact,
} from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import type { Asker, Refusal } from "./source.ts";
import { readTransfer, toEnvelope } from "./transfer.ts";

export interface Pages {
  text: string;
  /** The first line of each page. */
  pages: number[];
}

export interface PdfReader {
  /** The text of a PDF; a refusal where it has none. Throws ProblemError where nobody can read one now. */
  read(bytes: Buffer, asker: Asker): Promise<Pages | Refusal>;
}

const pagesMax = 2_000;
const [input, output] = ["/inputs/source.pdf", "/outputs/text"];
const waitMs = 25_000;
/** What an instance that was killed left is older than any job of ours may last. */
const leftMs = 10 * 60_000;
const toSpec = (program: string, artifact: string, asker: Asker): JobSpecInput => ({
  // env says by 127 that there is no such program.
  command: ["env", program, "-q", "-enc", "UTF-8", "-eol", "unix", "-l", String(pagesMax + 1), input, output],
  resources: { cpus: 1, memory: "256MiB", pids: 16, disk: "32MiB" },
  inputs: [{ artifact, path: input }],
  outputs: [{ path: output }],
  ...{ timeout: "10s", queue_timeout: "10s", grace: "0s", name: "pdf-text" },
  labels: { for: principalName(asker.principal) },
});

export function createPdfReader(bus: Bus, program: string, log: Logger): PdfReader {
  let isSwept = false;
  const forget = async (ids: readonly string[]) => {
    for (const id of ids)
      await request(bus, deleteArtifact, { id }, { envelope: { request_id: createId("req") } }).catch(
        (error: unknown) => log.warn({ err: error, id }, "a file of a PDF is left until the next start"),
      );
  };
  const sweep = async () => {
    const { reply } = await request(bus, listArtifacts, { limit: 500 }, { envelope: { request_id: createId("req") } });
    const left = reply.items.filter(({ created_at }) => Date.parse(created_at) < Date.now() - leftMs);
    await forget(left.map(({ id }) => id));
  };
  return {
    async read(bytes, asker) {
      if (!isSwept) await sweep();
      isSwept = true;
      const files: string[] = [];
      try {
        const { id } = await store(bus, bytes, asker);
        files.push(id);
        const job = await run(bus, toSpec(program, id, asker), asker);
        files.push(...job.artifacts.map((artifact) => artifact.id));
        return await readText(bus, job, asker);
      } finally {
        await forget(files);
      }
    },
  };
}

async function store(bus: Bus, bytes: Buffer, asker: Asker): Promise<Artifact> {
  const envelope = toEnvelope(asker);
  const described = { name: "source.pdf", type: "application/pdf", size_bytes: bytes.length };
  const { transfer } = (await request(bus, uploadArtifact, described, { envelope })).reply;
  for (let from = 0; from < bytes.length; from += limits.chunkBytes) {
    const part = bytes.subarray(from, from + limits.chunkBytes);
    await request(bus, sendChunk, { transfer, index: from / limits.chunkBytes }, { envelope, bytes: part });
  }
  return (await request(bus, commitUpload, { transfer }, { envelope })).reply;
}

/** The job's end; it is killed where it does not come. */
async function run(bus: Bus, spec: JobSpecInput, asker: Asker): Promise<Job> {
  const envelope = { ...toEnvelope(asker), intent_id: asker.intentId };
  const { id } = (await request(bus, submitJob, spec, { envelope })).reply;
  const { reply } = await request(bus, getJob, { id, wait: `${waitMs}ms` }, { envelope });
  if (isTerminal(reply.state)) return reply;
  await request(bus, killJob, { id }, { envelope });
  return (await request(bus, getJob, { id, wait: "5s" }, { envelope })).reply;
}

async function readText(bus: Bus, job: Job, asker: Asker): Promise<Pages | Refusal> {
  const file = job.artifacts.find(({ path }) => path === output);
  if (job.exit_code === 127) throw unavailable("PDF needs pdftotext; run as root: apt-get install -y poppler-utils");
  if (job.state === "timed_out" || job.reason === "oom_killed")
    return { refused: "the PDF takes too much time or memory; send its text" };
  if (job.reason === "exit_nonzero") return { refused: "the PDF is damaged or encrypted; send its text" };
  if (job.state !== "succeeded" || !file) throw unavailable(`the PDF could not be read: ${job.reason ?? job.state}`);
  if (file.size_bytes > limits.memoryTextBytes)
    return { refused: `the PDF has more than ${limits.memoryTextBytes} bytes of text` };
  const envelope = toEnvelope(asker);
  const { transfer } = (await request(bus, downloadArtifact, { id: file.id }, { envelope })).reply;
  const bytes = await readTransfer(bus, transfer, file.size_bytes, envelope);
  return toPages(bytes.toString("utf8"));
}

/** Text in which each page begins a line, behind a form feed. */
export function toPages(told: string): Pages | Refusal {
  // What is no character of a text becomes a space: nobody could have written it into a file.
  const plain = told.replace(/\p{Cc}/gu, (control) => ("\t\n\f".includes(control) ? control : " "));
  const parts = plain.replace(/\f$/, "").split("\f");
  if (parts.length > pagesMax) return { refused: `the PDF has more than ${pagesMax} pages` };
  const text = parts.map((part, i) => (i === parts.length - 1 || part.endsWith("\n") ? part : `${part}\n`)).join("\f");
  if (!/\S/.test(text)) return { refused: "the PDF has no text: its pages are pictures" };
  let line = 1;
  const pages = text.split("\f").map((page) => {
    const first = line;
    line += page.split("\n").length - 1;
    return first;
  });
  return { text, pages };
}

function unavailable(detail: string): ProblemError {
  return new ProblemError("unavailable", { detail, retry_after_ms: 60_000 });
}
