// A human secret: typed at the terminal without echo, or read from a file descriptor that somebody else opened. Never an
// argument, which every process of the machine can read.
import { readSync } from "node:fs";
import { type Asker, askLine, isPerson } from "./ask-line.ts";
import { exitCodes, Failure, UsageError } from "./failure.ts";

const secretMaxBytes = 1024;

/** The secret from this descriptor, or else asked for; throws Failure where there is neither. */
export async function readSecret(asker: Asker, fd: string | undefined, prompt: string): Promise<string> {
  if (fd !== undefined) return readDescriptor(fd);
  if (!isPerson(asker)) {
    throw new Failure("a secret is needed, and there is no terminal to type it on", {
      exitCode: exitCodes.usage,
      next: "give it on a descriptor: --secret-fd 3 3<FILE",
    });
  }
  const secret = await askLine(asker, prompt, { hidden: true });
  if (!secret) throw new Failure("no secret was given");
  return secret;
}

/** All that the descriptor holds, without the newline at its end. */
function readDescriptor(text: string): string {
  if (!/^\d{1,4}$/.test(text)) throw new UsageError(`--secret-fd must be a number, not '${text}'`);
  const bytes = Buffer.alloc(secretMaxBytes + 1);
  let length = 0;
  try {
    for (let read = 1; read > 0 && length < bytes.length; length += read)
      read = readSync(Number(text), bytes, length, bytes.length - length, null);
  } catch (error) {
    throw new Failure(`descriptor ${text} cannot be read`, { exitCode: exitCodes.usage, cause: error });
  }
  if (length > secretMaxBytes)
    throw new Failure(`a secret may take ${secretMaxBytes} bytes`, { exitCode: exitCodes.usage });
  const secret = bytes.toString("utf8", 0, length).replace(/\r?\n$/, "");
  if (secret === "") throw new Failure(`descriptor ${text} holds no secret`, { exitCode: exitCodes.usage });
  return secret;
}
