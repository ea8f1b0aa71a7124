// What can go wrong for a person at the terminal, and the exit code that says so to a script. The codes are stable: help
// lists them, scripts rely on them.

export const exitCodes = {
  done: 0,
  no: 1,
  usage: 2,
  denied: 3,
  notFound: 4,
  conflict: 5,
  unavailable: 6,
  broken: 7,
  /** 128 + SIGPIPE, as for any program that writes where nobody reads. */
  pipeClosed: 141,
} as const;

/** Exit codes with what they mean, in the order of the help. */
export type Exits = readonly (readonly [code: string, meaning: string])[];

export const exits: Exits = [
  ["0", "done"],
  ["1", "the answer is no: denied, not healthy, not intact, not there"],
  ["2", "the command line or the request is not valid"],
  ["3", "refused: you may not"],
  ["4", "not found"],
  ["5", "the state forbids it"],
  ["6", "unavailable: cannot connect, a part is away, or no answer in time"],
  ["7", "something in Aether is broken"],
  ["141", "nobody reads the output any more"],
];

/** The command line cannot be understood. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/** Something that the person can be told in two lines: what, and what to do next. */
export class Failure extends Error {
  readonly exitCode: number;
  readonly next: string | undefined;

  constructor(message: string, options: ErrorOptions & { exitCode?: number; next?: string } = {}) {
    super(message, options);
    this.name = "Failure";
    this.exitCode = options.exitCode ?? exitCodes.no;
    this.next = options.next;
  }
}

/** The exit code for a refusal with an HTTP status. */
export function exitCodeOfStatus(status: number): number {
  if (status === 401 || status === 403) return exitCodes.denied;
  if (status === 404) return exitCodes.notFound;
  if (status === 409) return exitCodes.conflict;
  if (status === 429 || status === 503 || status === 504) return exitCodes.unavailable;
  return status >= 500 ? exitCodes.broken : exitCodes.usage;
}
