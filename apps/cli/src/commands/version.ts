import { existsSync, readFileSync } from "node:fs";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJson } from "../terminal.ts";

export const version = defineCommand({
  usage: "version",
  about: "Versions of this client and, where one answers, of the server",
  options: {
    client: { type: "flag", about: "Ask no server" },
  },
  operands: { min: 0, max: 0, name: "" },
  async run({ values, json, terminal: { out }, socket, connect }) {
    const client = { version: ownVersion(), node: process.versions.node };
    // At once: asking the server takes longer than everything else.
    if (!json) out.line(`client  ${client.version}  (Node ${client.node})`);
    const reachable = !values.client && existsSync(await socket());
    const server = reachable ? await (await connect()).version().catch(() => null) : null;
    if (json) printJson(out, { client, server });
    else if (server) out.line(`server  ${server.version}  (API ${server.api}, Node ${server.node})`);
    else if (!values.client) out.line("server  none answers");
    return exitCodes.done;
  },
});

function ownVersion(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return manifest.version;
}
