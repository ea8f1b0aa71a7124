import { describe, expect, it } from "vitest";
import type { Values } from "./command.ts";
import { parseCommand } from "./command.ts";
import { parseInput } from "./job-inputs.ts";
import { specOptions, toJobSpec } from "./job-spec.ts";

const command = {
  options: specOptions,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "COMMAND" },
  endsAtOperand: true,
};

function specOf(argv: string[], stdin: string | null = null) {
  const { values, operands } = parseCommand(command, argv);
  return toJobSpec({ values: values as Values<typeof specOptions>, command: operands, stdin, env: { HERE: "1" } });
}

describe("the spec of a job", () => {
  it("has what the options say and nothing else", () => {
    expect(specOf(["true"])).toEqual({ command: ["true"], env: {}, labels: {}, resources: { io: {} } });
    const argv =
      "-m 512m --cpus 1.5 --pids-limit 64 --disk 2g --read-bps 1m --timeout 10m --queue-timeout 1h --grace 5 -e A=b=c " +
      "-e HERE -e GONE -l team=docs -w /workspace/x --retry 3 --priority=-5 --pool gpu --name n -- sh -c x";
    expect(specOf(argv.split(" "), "in\n")).toEqual({
      command: ["sh", "-c", "x"],
      stdin: "in\n",
      env: { A: "b=c", HERE: "1" },
      labels: { team: "docs" },
      resources: { memory: "512m", cpus: 1.5, pids: 64, disk: "2g", io: { read_bps: "1m" } },
      timeout: "10m",
      queue_timeout: "1h",
      grace: "5s",
      working_dir: "/workspace/x",
      retry: { max_attempts: 3 },
      priority: -5,
      pool: "gpu",
      name: "n",
    });
  });

  it.each([
    ["db", { secret: "db" }],
    ["db:password", { secret: "db", path: "/secrets/password" }],
    ["db:/secrets/password", { secret: "db", path: "/secrets/password" }],
    ["user:1000/db", { secret: "user:1000/db" }],
    ["user:1000/db:password", { secret: "user:1000/db", path: "/secrets/password" }],
  ])("has the secret %s", (text, secret) => {
    expect(specOf(["--secret", text, "true"]).secrets).toEqual([secret]);
  });

  it.each([
    ["--memory lots true", /^--memory: must be a size/],
    ["--cpus many true", /^--cpus: /],
    ["--pids-limit 0 true", /^--pids-limit: /],
    ["--timeout 10 true", /^--timeout: must be a duration/],
    ["--retry x true", /^--retry: /],
    ["-e A true", null],
    ["-e =b true", /^--env '=b' is not K=V/],
    ["-l team true", /^--label 'team' is not K=V/],
    ["-e 1A=b true", /^--env 1A: /],
    ["--workdir /etc true", /^--workdir: must be under/],
    ["--name a/b true", /^--name: /],
    ["--secret db:../x true", /^--secret path: must be a file right under/],
    ["--secret db:/etc/passwd true", /^--secret path: must be a file right under/],
    ["--secret db=hunter2 true", /^--secret secret: must be a secret's name/],
    ["--secret db --secret db true", /^--secret: must have a path of its own each/],
  ])("is refused in the words of the command line: %s", (line, message) => {
    if (message) expect(() => specOf(line.split(" "))).toThrow(message);
    else expect(specOf(line.split(" ")).env).toEqual({});
  });

  it("keeps names that an object has by birth", () => {
    expect(specOf(["-e", "__proto__=x", "-e", "toString=y", "true"]).env).toEqual(
      Object.fromEntries([
        ["__proto__", "x"],
        ["toString", "y"],
      ]),
    );
  });
});

describe("an input", () => {
  it.each([
    ["./file:/inputs/a", "./file", "/inputs/a"],
    ["art_01kas4f8m2d6f8h0k2n4q6s8v0:/workspace/a", "art_01kas4f8m2d6f8h0k2n4q6s8v0", "/workspace/a"],
    ["a:b:/inputs/c", "a:b", "/inputs/c"],
    ["./dir:/workspace", "./dir", "/workspace"],
  ])("%s is %s at %s", (text, source, destination) => {
    expect(parseInput(text)).toEqual({ source, destination });
  });

  it.each(["file", "file:", "file:inputs/a", "file:/etc/passwd", ":/inputs/a"])("%s is none", (text) => {
    expect(() => parseInput(text)).toThrow(/is not SOURCE/);
  });
});
