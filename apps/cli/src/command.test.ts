import { describe, expect, it } from "vitest";
import { parseCommand } from "./command.ts";
import { UsageError } from "./failure.ts";

const command = {
  options: {
    all: { type: "flag", short: "a", about: "" },
    name: { type: "text", short: "n", value: "NAME", about: "" },
    "stop-timeout": { type: "text", also: ["grace"], value: "TIME", about: "" },
    env: { type: "list", short: "e", value: "K=V", about: "" },
  },
  operands: { min: 1, max: 2, name: "JOB" },
} as const;
const runLike = {
  ...command,
  endsAtOperand: true,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "COMMAND" },
};

describe("arguments", () => {
  it("are read with short, long, joined and repeated options", () => {
    const { values, operands } = parseCommand(command, [
      "-a",
      "--name=x",
      "-e",
      "A=1",
      "one",
      "--env",
      "B=2",
      "--json",
    ]);
    expect(operands).toEqual(["one"]);
    expect(values).toMatchObject({ all: true, name: "x", env: ["A=1", "B=2"], json: true, "stop-timeout": undefined });
  });

  it("know an option by each of its names", () => {
    expect(parseCommand(command, ["--grace", "5s", "x"]).values["stop-timeout"]).toBe("5s");
    expect(() => parseCommand(command, ["--grace", "5s", "--stop-timeout", "6s", "x"])).toThrow(/given 2 times/);
  });

  it.each([
    [["--memroy", "1g", "x"], "Unknown option '--memroy'"],
    [["--name"], "argument missing"],
    [["--all=yes", "x"], "does not take an argument"],
    [["--name", "a", "--name", "b", "x"], "given 2 times"],
    [[], "JOB is missing"],
    [["a", "b", "c"], "Unexpected argument 'c'"],
  ])("are refused when they are %j", (argv, message) => {
    expect(() => parseCommand(command, argv)).toThrow(UsageError);
    expect(() => parseCommand(command, argv)).toThrow(message);
  });

  it("need no operands for the help", () => {
    expect(parseCommand(command, ["-h"]).values.help).toBe(true);
  });

  it.each([
    [
      ["-e", "A=1", "sh", "-c", "exit 3", "--name"],
      ["sh", "-c", "exit 3", "--name"],
    ],
    [
      ["-e", "A=1", "--", "-x", "--", "y"],
      ["-x", "--", "y"],
    ],
    [
      ["--name", "sh", "sh", "--json", "-a"],
      ["sh", "--json", "-a"],
    ],
    [
      ["sh", "--", "x"],
      ["sh", "--", "x"],
    ],
  ])("end at the first operand where a command line follows: %j", (argv, operands) => {
    const parsed = parseCommand(runLike, argv);
    expect(parsed.operands).toEqual(operands);
    expect(parsed.values).toMatchObject({ all: false, json: false });
  });

  it("are refused before an operand that is a command line", () => {
    expect(() => parseCommand(runLike, ["--nmae", "x", "sh"])).toThrow("Unknown option '--nmae'");
  });

  it("of a command with operands of its own end at the first operand that is not, or at --", () => {
    const named = { ...runLike, ownOperands: 1, operands: { ...runLike.operands, min: 2 } };
    const read = (...argv: string[]) => {
      const { values, operands } = parseCommand(named, argv);
      return [values.name, operands];
    };
    expect(read("-n", "x", "scout", "ls", "-n", "y")).toEqual(["x", ["scout", "ls", "-n", "y"]]);
    expect(read("scout", "-n", "x", "ls", "-a")).toEqual(["x", ["scout", "ls", "-a"]]);
    expect(read("scout", "-n", "x", "--", "-n", "y")).toEqual(["x", ["scout", "-n", "y"]]);
    expect(read("--", "scout", "-n")).toEqual([undefined, ["scout", "-n"]]);
    expect(() => read("scout")).toThrow(UsageError);
  });
});
