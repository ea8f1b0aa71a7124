// An event as a line that a person reads: when, what, about whom, and what of its data says most.
import type { CloudEvent } from "@aether/contracts";
import type { Output } from "./terminal.ts";
import { shorten, visible } from "./text.ts";

const dataColumns = 80;
const typeColumns = 14;
const alarming: readonly unknown[] = ["failed", "lost", "denied"];

/** The line; `short` for a list about one thing of one moment: without the date, and without what it is about. */
export function eventLine(out: Output, event: CloudEvent, { short = false } = {}): string {
  const isSystem = event.source.startsWith("/system/");
  const time = event.time ?? "-";
  const type = isSystem ? event.type.replace(/^dev\.aether\.(.*)\.v\d+$/, "$1") : event.type;
  const about = [isSystem ? undefined : event.source, event.subject ?? event.jobid].filter((one) => one !== undefined);
  return [
    visible(short ? time.slice(11, 23) : time),
    paintType(out, event, visible(type).padEnd(typeColumns)),
    ...(short ? [] : about.map(visible)),
    shorten(visible(detailOf(event)), dataColumns),
  ]
    .join("  ")
    .trimEnd();
}

function paintType(out: Output, { data }: CloudEvent, text: string): string {
  return alarming.includes(Object(data).state) ? out.paint("red", text) : text;
}

/** Of a job's event how the job stands, of others the data. */
function detailOf({ source, data }: CloudEvent): string {
  if (data === undefined) return "";
  if (source !== "/system/jobs") return JSON.stringify(data);
  const { state, reason, attempt, exit_code, signal } = Object(data);
  const how = signal ?? (typeof exit_code === "number" ? `exit ${exit_code}` : null);
  return [state, reason && `(${reason})`, attempt > 1 && `attempt ${attempt}`, how].filter(Boolean).join(" ");
}
