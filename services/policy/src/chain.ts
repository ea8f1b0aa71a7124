// Walks records in order and says where the chain breaks. It lets other work pass in between: a long log is read for seconds.
import { setImmediate } from "node:timers/promises";
import { type ChainEnd, faultOf } from "./record.ts";

const recordsAtOnce = 100;

export interface Fault {
  seq: number | null;
  fault: string;
}

/** Verifies lines that follow `end`; `visit` is shown every place in the chain. Stops at the first fault. */
export async function verifyChain(
  lines: AsyncIterable<string>,
  start: ChainEnd,
  visit: (end: ChainEnd) => void = () => {},
): Promise<{ end: ChainEnd; fault: Fault | null }> {
  let end = start;
  let walked = 0;
  for await (const line of lines) {
    const record = parseLine(line);
    const fault = record ? faultOf(record, end) : "it is not a record";
    if (fault || !record) return { end, fault: { seq: end.seq + 1, fault: fault ?? "it is not a record" } };
    end = { seq: end.seq + 1, hash: String(record.hash) };
    visit(end);
    if (++walked % recordsAtOnce === 0) await setImmediate();
  }
  return { end, fault: null };
}

/** A line as an object; null where it is none. */
export function parseLine(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? { ...value } : null;
  } catch {
    return null; // not JSON is not a record, which the caller reports
  }
}
