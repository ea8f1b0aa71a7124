// Where output goes. Results go to stdout, everything said about them to stderr; colour and movement only where a person
// looks, so that a pipe and a log file get plain text.
import { styleText } from "node:util";

type Format = Parameters<typeof styleText>[0];

export interface Output {
  readonly isTerminal: boolean;
  /** How wide a line may be; unlimited where nobody looks. */
  readonly columns: number;
  write(data: string | Uint8Array): void;
  line(text?: string): void;
  /** Resolves when there is room for more, and when nobody reads it any more. */
  drained(): Promise<void>;
  /** The text in a format, where formats are shown. */
  paint(format: Format, text: string): string;
}

export interface Terminal {
  readonly out: Output;
  readonly err: Output;
  /** Aborted when what is written here is read by nobody any more. */
  readonly closed: AbortSignal;
}

/** Wraps a standard stream. */
export function createOutput(stream: NodeJS.WriteStream): Output {
  const isTerminal = stream.isTTY === true;
  return {
    isTerminal,
    get columns() {
      return isTerminal ? stream.columns || 80 : Number.POSITIVE_INFINITY; // 0 where the terminal does not know
    },
    write: (data) => void stream.write(data),
    line: (text = "") => void stream.write(`${text}\n`),
    drained: () => (stream.writableNeedDrain ? untilAny(stream, "drain", "close", "error") : Promise.resolve()),
    paint: (format, text) => styleText(format, text, { stream }),
  };
}

/** Resolves when everything written was handed over, or nobody reads it any more. */
export function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0 || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    // Its callback comes behind all writes before it, also when they failed.
    stream.write("", () => resolve());
  });
}

function untilAny(stream: NodeJS.WriteStream, ...events: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of events) stream.off(event, done);
      resolve();
    };
    for (const event of events) stream.on(event, done);
  });
}

/** Prints a value as one JSON document: readable on a terminal, one line in a pipe. */
export function printJson(out: Output, value: unknown): void {
  out.line(JSON.stringify(value, null, out.isTerminal ? 2 : 0));
}

/** Prints a value as one line of NDJSON. */
export function printJsonLine(out: Output, value: unknown): void {
  out.line(JSON.stringify(value));
}

/** Prints values as lines of NDJSON; resolves when there is room for more. */
export function printJsonLines(out: Output, values: readonly unknown[]): Promise<void> {
  out.write(values.map((value) => `${JSON.stringify(value)}\n`).join(""));
  return out.drained();
}
