// Conditions and ranges of RFC 9110, for bytes that never change: a strong ETag, one range.

export interface ByteRange {
  first: number;
  /** Inclusive. */
  last: number;
}

/** The one range that is asked for, "unsatisfiable", or null where all is: no range, several, or one that is none. */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | "unsatisfiable" | null {
  const match = /^bytes=\s*(\d{0,16})-(\d{0,16})\s*$/i.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return null;
  const [from, to] = [match[1] ?? "", match[2] ?? ""];
  if (from === "") {
    const length = Math.min(Number(to), sizeBytes);
    return length === 0 ? "unsatisfiable" : { first: sizeBytes - length, last: sizeBytes - 1 };
  }
  if (to !== "" && Number(to) < Number(from)) return null;
  if (Number(from) >= sizeBytes) return "unsatisfiable";
  return { first: Number(from), last: to === "" ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1) };
}

/** Whether `If-None-Match` names the tag: the asker has these bytes already. */
export function isNamed(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.trim() === "*" || header.split(",").some((one) => one.trim().replace(/^W\//, "") === etag);
}

/** Whether the range counts: `If-Range` is absent or names exactly the tag. A date is never known to be exact. */
export function isRangeWanted(header: string | string[] | undefined, etag: string): boolean {
  return header === undefined || header === etag;
}

/** `Content-Disposition` with the name as RFC 6266 and RFC 8187 say: plain ASCII, and, where that is not it, all of it. */
export function contentDisposition(name: string): string {
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_");
  if (plain === name) return `attachment; filename="${plain}"`;
  const full = encodeURIComponent(name).replaceAll(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return `attachment; filename="${plain}"; filename*=UTF-8''${full}`;
}
