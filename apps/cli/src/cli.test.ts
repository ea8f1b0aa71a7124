import { describe, expect, it } from "vitest";
import { runCli } from "./cli.ts";
import { commands } from "./commands.ts";
import type { Output } from "./terminal.ts";

async function call(...argv: string[]) {
  const written = { out: "", err: "" };
  const output = (name: "out" | "err"): Output => {
    const write = (data: string | Uint8Array) => {
      written[name] += String(data);
    };
    const line = (text = "") => write(`${text}\n`);
    return { isTerminal: false, columns: 80, write, line, drained: async () => {}, paint: (_, text) => text };
  };
  const terminal = { out: output("out"), err: output("err"), closed: new AbortController().signal };
  const code = await runCli({ argv, env: {}, terminal, stdin: process.stdin });
  return { code, ...written };
}

describe("the command line", () => {
  it.each([[[]], [["--help"]], [["-h"]], [["help"]]])("shows every command for %j", async (argv) => {
    const { code, out } = await call(...argv);
    expect(code).toBe(0);
    for (const name of [...commands.keys(), "setup", "test", "bench"]) expect(out).toContain(`  ${name} `);
    expect(out).toMatch(/Exit codes\n {2}0 +done/);
  });

  it.each([...commands.keys()])("has help for %s with all its options", async (name) => {
    const command = await commands.get(name)?.();
    const { code, out, err } = await call(...name.split(" "), "--help");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toContain(`Usage: aether ${name}`);
    for (const option of [...Object.keys(command?.options ?? {}), "json", "socket", "home"]) {
      expect(out).toContain(`--${option}`);
    }
    expect(out).toContain("Exit codes");
  });

  it.each([
    [["dance"], "Unknown command 'dance'"],
    [["policy"], "needs one of: ls, check, test"],
    [["audit", "burn"], "needs one of: ls, verify"],
    [["ps", "extra"], "Unexpected argument 'extra'"],
    [["stop"], "JOB is missing"],
    [["logs", "--nonsense", "x"], "Unknown option '--nonsense'"],
  ])("refuses %j", async (argv, message) => {
    const { code, out, err } = await call(...argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(message);
    expect(err).toContain("--help");
  });

  it("tells an error as JSON where JSON was asked for", async () => {
    const { err } = await call("--json", "ps", "extra");
    expect(JSON.parse(err)).toMatchObject({ title: "Unexpected argument 'extra'", next: expect.any(String) });
  });

  it("takes common options before the command", async () => {
    const { code, err } = await call("--socket", "/nonexistent/a.sock", "ps");
    expect(code).toBe(6);
    expect(err).toContain("/nonexistent/a.sock");
  });
});
