// Logs of the services: pino JSON lines with secrets redacted. A process opens its root logger once, in main; every part
// takes a child of it. Library code takes a `Logger` and never reads the environment.
import { pino } from "pino";

export {
  type Attributes,
  type Counter,
  createRegistry,
  durationBounds,
  type Histogram,
  type Metric,
  type Registry,
} from "./metrics.ts";
export { openTracing } from "./open-tracing.ts";
export type { Span, SpanKind, Tracer, Tracing } from "./tracing.ts";

/** The part of pino's logger that Aether's code uses; the first argument carries the fields. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}

const secrets = ["secret", "seed", "token", "password", "authorization", "env", "stdin"];

/** Opens the root logger of a process: JSON lines appended to `file`, or to standard error where it is null. */
export function openLog(options: { name: string; file: string | null; level?: string }): Logger {
  const paths = secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    {
      name: options.name,
      level: options.level ?? "info",
      base: { name: options.name, pid: process.pid },
      redact: { paths, censor: "[redacted]" },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ dest: options.file ?? 2, append: true, mkdir: false, sync: true, mode: 0o640 }),
  );
}
