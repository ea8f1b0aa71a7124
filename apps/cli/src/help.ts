// The help, on stdout because it was asked for.
import { type Command, commonOptions, type Option, type Options } from "./command.ts";
import { groups } from "./commands.ts";
import { type Exits, exits } from "./failure.ts";
import type { Output } from "./terminal.ts";
import { alignColumns } from "./text.ts";

/** `aether --help`. */
export function printHelp(out: Output): void {
  out.line(`${out.paint("bold", "aether")}: durable, sandboxed, audited jobs\n`);
  out.line("Usage: aether COMMAND [OPTION…]");
  const names = Object.values(groups).flatMap((entries) => Object.keys(entries));
  const width = Math.max(...names.map((name) => name.length));
  for (const [group, entries] of Object.entries(groups)) {
    heading(out, group);
    for (const [name, { about }] of Object.entries(entries)) out.line(`  ${name.padEnd(width)}  ${about}`);
  }
  heading(out, "Options of every command");
  printOptions(out, commonOptions);
  printExits(out, exits);
  out.line("\n`aether COMMAND --help` says more about a command.");
}

/** `aether COMMAND --help`. */
export function printCommandHelp(out: Output, command: Command): void {
  out.line(`${command.about}\n`);
  out.line(`Usage: aether ${command.usage}`);
  if (Object.keys(command.options).length > 0) {
    heading(out, "Options");
    printOptions(out, command.options);
  }
  heading(out, "Options of every command");
  printOptions(out, commonOptions);
  for (const note of command.notes ?? []) out.line(`\n${note}`);
  if (command.examples) {
    heading(out, "Examples");
    for (const example of command.examples) out.line(`  ${example}`);
  }
  printExits(out, command.exits ?? exits);
}

function heading(out: Output, text: string): void {
  out.line(`\n${out.paint("bold", text)}`);
}

function printOptions(out: Output, options: Options): void {
  const rows = Object.entries(options).map(([name, option]) => [`  ${spell(name, option)}`, aboutOf(option)]);
  for (const line of alignColumns(rows)) out.line(line);
}

function spell(name: string, option: Option): string {
  const short = option.short ? `-${option.short}, ` : "    ";
  const long = [name, ...(option.also ?? [])].map((one) => `--${one}`).join(", ");
  return `${short}${long}${option.value ? ` ${option.value}` : ""}`;
}

function aboutOf(option: Option): string {
  return option.type === "list" ? `${option.about}; may be repeated` : option.about;
}

function printExits(out: Output, list: Exits): void {
  heading(out, "Exit codes");
  for (const line of alignColumns(list.map(([code, meaning]) => [`  ${code}`, meaning]))) out.line(line);
}
