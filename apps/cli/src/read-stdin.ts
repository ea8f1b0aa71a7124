// Standard input for a job. It travels in the job's spec, as text and with a limit; more belongs into an artifact. What is
// over the limit or no text is refused here, before anything was asked of the server, and never cut.
import { isUtf8 } from "node:buffer";
import { exitCodes, Failure } from "./failure.ts";

/** Reads all of it; throws Failure when it is longer than `maxBytes` or is not UTF-8. */
export async function readStdin(stdin: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of stdin) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) {
      throw new Failure(`stdin is over the ${maxBytes / 1024} KiB that a job may be given`, {
        exitCode: exitCodes.usage,
        next: "send less, or let the command make or fetch its own input",
      });
    }
  }
  const bytes = Buffer.concat(chunks);
  if (!isUtf8(bytes)) {
    throw new Failure("stdin is not text", {
      exitCode: exitCodes.usage,
      next: "encode it and decode it in the job: base64 FILE | aether run -i -- sh -c 'base64 -d | …'",
    });
  }
  return bytes.toString("utf8");
}
