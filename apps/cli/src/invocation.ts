// What a command is given: its arguments, the terminal, and the two things it may need of the machine, each made when it is
// first asked for, because loading the contracts costs more than most commands need.
import type { Client } from "@aether/client";
import type { Layout } from "@aether/contracts";
import type { Terminal } from "./terminal.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Invocation<V = Record<string, unknown>> {
  readonly values: V;
  readonly operands: readonly string[];
  readonly json: boolean;
  readonly terminal: Terminal;
  readonly stdin: NodeJS.ReadStream;
  readonly env: Environment;
  /** Where everything is, after AETHER_HOME and --home. */
  layout(): Promise<Layout>;
  /** The socket that was asked for, else the one of the layout. */
  socket(): Promise<string>;
  /** A client for that socket. */
  connect(): Promise<Client>;
}
