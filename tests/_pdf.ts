// PDF files by hand, as small as they can be: a page for each text, in one of the fonts that every reader has.
import { deflateSync } from "node:zlib";

export interface PdfOptions {
  /** Drawing of each page instead of its text, compressed. */
  content?: Buffer;
  /** Behind a password that nobody knows. */
  encrypted?: boolean;
}

/** A file with a page for each text. */
export function makePdf(texts: readonly string[], { content, encrypted = false }: PdfOptions = {}): Buffer {
  const pageOf = (i: number) => 4 + 2 * i;
  const draw = (text: string) =>
    Buffer.from(
      `BT /F1 12 Tf 72 720 Td 14 TL ${text
        .split("\n")
        .map((line) => `(${line}) Tj T*`)
        .join(" ")} ET`,
    );
  const stream = (bytes: Buffer, filter = "") =>
    Buffer.concat([Buffer.from(`<< /Length ${bytes.length} ${filter}>>\nstream\n`), bytes, Buffer.from("\nendstream")]);
  const kids = texts.map((_, i) => `${pageOf(i)} 0 R`).join(" ");
  const objects: (string | Buffer)[] = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    `<< /Type /Pages /Kids [${kids}] /Count ${texts.length} >>`,
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ...texts.flatMap((text, i) => [
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents ${pageOf(i) + 1} 0 R >>`,
      content ? stream(deflateSync(content), "/Filter /FlateDecode ") : stream(draw(text)),
    ]),
  ];
  const key = `<${"5a".repeat(32)}>`;
  const encrypt = `/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O ${key} /U ${key} >> /ID [${key} ${key}]`;
  const parts: Buffer[] = [Buffer.from("%PDF-1.7\n")];
  let at = parts[0]?.length ?? 0;
  const offsets = objects.map((object, i) => {
    const part = Buffer.concat([Buffer.from(`${i + 1} 0 obj\n`), Buffer.from(object), Buffer.from("\nendobj\n")]);
    parts.push(part);
    at += part.length;
    return at - part.length;
  });
  const rows = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  const size = objects.length + 1;
  const trailer = `<< /Size ${size} /Root 1 0 R ${encrypted ? encrypt : ""} >>\nstartxref\n${at}\n%%EOF\n`;
  return Buffer.concat([...parts, Buffer.from(`xref\n0 ${size}\n0000000000 65535 f \n${rows}trailer\n${trailer}`)]);
}
