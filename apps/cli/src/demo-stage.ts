// How the demo speaks: a heading for each step, the command that a person would type for it, and a mark for what held.
import type { Progress } from "./progress.ts";
import type { Output } from "./terminal.ts";

/** What the demo found, for --json. */
export type Findings = Record<string, unknown>;

export interface Stage {
  out: Output;
  progress: Progress;
  found: Findings;
}

export function heading(out: Output, title: string): void {
  out.line(`\n${out.paint("bold", title)}`);
}

export function held(out: Output, text: string): void {
  out.line(`  ${out.paint("green", "✓")} ${text}`);
}

export function typedCommand(out: Output, command: string): void {
  out.line(`  ${out.paint("dim", "$")} ${out.paint("bold", command)}`);
}
