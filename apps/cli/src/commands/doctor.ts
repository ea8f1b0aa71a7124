import { spawn } from "node:child_process";
import { defineCommand } from "../command.ts";
import { daemonCommand } from "../daemon.ts";
import { exitCodes } from "../failure.ts";

export const doctor = defineCommand({
  usage: "doctor",
  about: "Say what of this machine works, what does not and why, and the one thing that mends it",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  notes: ["Exits 0 when everything works."],
  async run({ json, env }) {
    // Who starts things is who knows what they need: the doctor is aetherd's.
    const [command, args] = daemonCommand(["doctor", ...(json ? ["--json"] : [])]);
    const child = spawn(command, args, { stdio: "inherit", env });
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => resolve(code ?? exitCodes.broken));
    });
  },
});
