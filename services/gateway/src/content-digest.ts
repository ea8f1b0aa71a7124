// The digest that a sender announces: `Content-Digest` (RFC 9530, a dictionary of byte sequences) or the older `Digest`
// (RFC 3230). Only SHA-256 is looked at; one that is announced and cannot be read is refused, never passed over.
import type { IncomingHttpHeaders } from "node:http";
import { ProblemError } from "@aether/contracts";

/** The announced SHA-256 in hexadecimal, null where none is; throws ProblemError. */
export function readContentDigest(headers: IncomingHttpHeaders): string | null {
  const announced = [
    findDigest(headers["content-digest"], /^\s*sha-256\s*=\s*:([A-Za-z0-9+/]+={0,2}):\s*$/, "Content-Digest"),
    findDigest(headers.digest, /^\s*sha-256\s*=([A-Za-z0-9+/]+={0,2})\s*$/i, "Digest"),
  ].filter((digest) => digest !== null);
  if (new Set(announced).size > 1) throw invalid("Digest", "says something else than Content-Digest");
  return announced[0] ?? null;
}

function findDigest(header: string | string[] | undefined, form: RegExp, name: string): string | null {
  if (header === undefined) return null;
  const members = (Array.isArray(header) ? header.join(",") : header).split(",");
  const [member, ...more] = members.filter((one) => /^\s*sha-256\s*=/i.test(one));
  if (member === undefined) return null;
  const bytes = Buffer.from(form.exec(member)?.[1] ?? "", "base64");
  if (bytes.length !== 32 || more.length > 0) throw invalid(name, "must hold one SHA-256 in base64");
  return bytes.toString("hex");
}

function invalid(name: string, message: string): ProblemError {
  const path = `headers.${name.toLowerCase()}`;
  return new ProblemError("invalid-request", { detail: `${path}: ${message}`, errors: [{ path, message }] });
}

/** The digest as a field value of RFC 9530. */
export function toReprDigest(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
}
