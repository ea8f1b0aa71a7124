// What a command is, and how its arguments are read.
//
// Stricter than a usual parser on purpose: an option that nobody knows is an error, never ignored; a repeated option is a
// list or an error, never silently the last; and where a command takes another program's command line (`run`), options end
// at the first operand, so that nothing of that line is ever taken for ours.
import { parseArgs } from "node:util";
import { type Exits, UsageError } from "./failure.ts";
import type { Invocation } from "./invocation.ts";

export interface Option {
  readonly type: "flag" | "text" | "list";
  readonly short?: string;
  /** Other long names for it. */
  readonly also?: readonly string[];
  /** What its value is called in the help, `SIZE`. */
  readonly value?: string;
  readonly about: string;
}
export type Options = Readonly<Record<string, Option>>;

type ValueOf<T extends Option["type"]> = T extends "flag"
  ? boolean
  : T extends "list"
    ? readonly string[]
    : string | undefined;
export type Values<O extends Options> = { readonly [K in keyof O]: ValueOf<O[K]["type"]> };

export interface Command<O extends Options = Options> {
  /** What follows `aether` in the usage line. */
  readonly usage: string;
  readonly about: string;
  /** Paragraphs below the options. */
  readonly notes?: readonly string[];
  readonly examples?: readonly string[];
  /** Exit codes that are this command's own. */
  readonly exits?: Exits;
  readonly options: O;
  readonly operands: { readonly min: number; readonly max: number; readonly name: string };
  /** Everything from the first operand on belongs to somebody else's command line. */
  readonly endsAtOperand?: boolean;
  /** How many operands are this command's own, before that line begins. */
  readonly ownOperands?: number;
  /** Looks after itself when nobody reads its output any more; other commands end there, as programs in a pipe do. */
  readonly outlivesPipe?: boolean;
  /** Does it and answers the exit code. */
  run(invocation: Invocation<Values<O>>): Promise<number>;
}

/** Declares a command; the identity function, for its types. */
export function defineCommand<const O extends Options>(command: Command<O>): Command<O> {
  return command;
}

/** Options that every command has. */
export const commonOptions = {
  json: { type: "flag", about: "One JSON document, or one JSON value a line where it goes on" },
  socket: { type: "text", value: "PATH", about: "Socket to talk to (AETHER_SOCKET)" },
  home: { type: "text", value: "DIR", about: "Folder that holds everything (AETHER_HOME)" },
  "token-file": { type: "text", value: "FILE", about: "Come with the capability token in it (AETHER_TOKEN_FILE)" },
  help: { type: "flag", short: "h", about: "This help" },
} as const satisfies Options;

export interface Parsed {
  /** What each option says: of the kind that its declaration names. */
  values: Values<Options>;
  operands: string[];
}

/** Reads the arguments of a command; throws UsageError. */
export function parseCommand(
  command: Pick<Command, "options" | "operands" | "endsAtOperand" | "ownOperands">,
  argv: string[],
): Parsed {
  const options: Options = { ...command.options, ...commonOptions };
  const { ours, rest } = command.endsAtOperand
    ? splitAtOperand(options, argv, command.ownOperands ?? 0)
    : { ours: argv, rest: [] };
  const { values: raw, positionals } = parseStrictly(options, ours);
  const values = Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, pick(name, option, raw)]),
  ) as Values<Options>;
  const operands = [...positionals, ...rest];
  if (!values.help) assertOperands(command.operands, operands);
  return { values, operands };
}

type Raw = Record<string, unknown>;

function parseStrictly(options: Options, args: string[]): { values: Raw; positionals: string[] } {
  try {
    return parseArgs({ args, options: toConfig(options), allowPositionals: true, strict: true });
  } catch (error) {
    if (error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
      throw new UsageError(error.message.split(". To specify a positional")[0] ?? error.message);
    }
    throw error;
  }
}

function toConfig(options: Options) {
  return Object.fromEntries(
    Object.entries(options).flatMap(([name, option]) =>
      [name, ...(option.also ?? [])].map((long) => [
        long,
        {
          type: option.type === "flag" ? ("boolean" as const) : ("string" as const),
          // Also where one value is meant: a second one is then seen, and refused.
          multiple: option.type !== "flag",
          ...(long === name && option.short && { short: option.short }),
        },
      ]),
    ),
  );
}

function pick(name: string, option: Option, raw: Raw): boolean | string | readonly string[] | undefined {
  const given = [name, ...(option.also ?? [])].flatMap((long) => raw[long] ?? []);
  if (option.type === "flag") return given.includes(true);
  const texts = given.filter((value) => typeof value === "string");
  if (option.type === "list") return texts;
  if (texts.length > 1) throw new UsageError(`Option '--${name}' was given ${texts.length} times`);
  return texts[0];
}

/** Where the first operand that is not the command's own or `--` stands; a value of an option before it is no operand. */
function splitAtOperand(options: Options, argv: string[], own: number): { ours: string[]; rest: string[] } {
  const { tokens } = parseArgs({
    args: argv,
    options: toConfig(options),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const first = tokens
    .filter(({ kind }) => kind !== "option")
    .find(({ kind }, i) => kind === "option-terminator" || i >= own);
  if (!first) return { ours: argv, rest: [] };
  return { ours: argv.slice(0, first.index), rest: argv.slice(first.index + (first.kind === "positional" ? 0 : 1)) };
}

function assertOperands({ min, max, name }: Command["operands"], operands: string[]): void {
  if (operands.length < min) throw new UsageError(`${name} is missing`);
  const extra = operands[max];
  if (extra !== undefined) throw new UsageError(`Unexpected argument '${extra}'`);
}
