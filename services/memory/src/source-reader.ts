// Reads sources with the rights of who asks and never with ours: files through the opener, which becomes him; artifacts
// through the artifacts service, which asks policy about him. Nothing larger than a source may be is ever held.
import { fileURLToPath } from "node:url";
import { type Bus, request } from "@aether/bus";
import {
  ArtifactId,
  hostUserOf,
  lendArtifact,
  limits,
  type Principal,
  ProblemError,
  type Request,
} from "@aether/contracts";
import { FileRefused, type Opener } from "@aether/opener";
import { type Asker, artifactOf, type Refusal, type Source, type SourceReader, sha256 } from "./source.ts";
import { readTransfer, toEnvelope } from "./transfer.ts";

const max = limits.memorySourceBytes;
const noArtifact: Refusal = { refused: "there is no such artifact" };

export function createSourceReader(bus: Bus, opener: Pick<Opener, "read">): SourceReader {
  return {
    async read(uri, asker, known = null) {
      const id = artifactOf(uri);
      return id === null ? readFile(opener, uri, asker) : readArtifact(bus, id, asker, known);
    },
  };
}

async function readFile(opener: Pick<Opener, "read">, uri: string, { principal }: Asker): Promise<Source | Refusal> {
  const path = toPath(uri);
  if (path === null) return { refused: "is no path of this host" };
  const user = hostUserOf(principal);
  if (!user) return { refused: "only users of this host have files here" };
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of opener.read(user, path, max)) {
      sizeBytes += chunk.length;
      if (sizeBytes > max) throw new Error("the opener gives more than it was asked for");
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof FileRefused) return { refused: error.message };
    const detail = "files cannot be opened right now";
    throw new ProblemError("unavailable", { detail, retry_after_ms: 1000 }, { cause: error });
  }
  const bytes = Buffer.concat(chunks, sizeBytes);
  return { bytes, sha256: await sha256(bytes), jobId: null };
}

function toPath(uri: string): string | null {
  try {
    return fileURLToPath(uri);
  } catch {
    return null; // a host, an encoded slash
  }
}

async function readArtifact(bus: Bus, id: string, asker: Asker, known: string | null): Promise<Source | Refusal> {
  const borrower = toBorrower(asker.principal);
  if (!ArtifactId.safeParse(id).success || borrower === null) return noArtifact;
  const envelope = toEnvelope(asker);
  const { intentId: intent_id, token } = asker;
  const asked = { id, borrower, intent_id, known, ...(token !== undefined && { token }) };
  const lent = await request(bus, lendArtifact, asked, { envelope }).catch((error: unknown) => {
    if (error instanceof ProblemError && error.slug === "not-found") return null;
    throw error;
  });
  if (!lent) return noArtifact;
  const { transfer, size_bytes: sizeBytes, job_id: jobId } = lent.reply;
  const isKnown = lent.reply.sha256 === known;
  if (transfer === null && !isKnown) return { refused: `the artifact is larger than ${max} bytes` };
  const bytes = transfer === null ? null : await readTransfer(bus, transfer, sizeBytes, envelope);
  return { bytes, sha256: lent.reply.sha256, jobId };
}

/** For whom it is read, without what only operators may. */
function toBorrower(principal: Principal): Request<typeof lendArtifact>["borrower"] | null {
  const { type } = principal;
  if (type !== "User" && type !== "Agent") return null;
  const role = type === "Agent" ? "agent" : "member";
  return { ...principal, type, roles: principal.roles.length > 0 ? [role] : [] };
}
