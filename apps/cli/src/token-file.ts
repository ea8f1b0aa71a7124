// The capability token that calls are narrowed to, from a file: never from an argument, which every user of the host could read.
import { readFileSync } from "node:fs";
import { exitCodes, Failure } from "./failure.ts";

/** The token in this file; throws Failure, for a call without the token that was asked for would be a wider one. */
export function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new Failure(`the token file ${file} cannot be read`, { exitCode: exitCodes.usage, cause: error });
  }
  if (/^[\w.~+/=-]+$/.test(token)) return token;
  throw new Failure(`there is no token in ${file}`, {
    exitCode: exitCodes.usage,
    next: `make one: aether token create --write ${file} ACTION…`,
  });
}
