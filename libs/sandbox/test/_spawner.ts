// A process of its own that makes sandboxes and is killed by its test. Started as `node _spawner.ts <stage> <options>`; it
// prints one line when it has reached the stage and then waits.
//
//   arguments   bwrap is started and waits for its arguments
//   orphaned    bwrap is stopped before it reads the arguments that are already written
//   prepared    a sandbox waits for its release
//   released    a sandbox runs
import { mkdirSync } from "node:fs";
import { sandboxArguments } from "../src/arguments.ts";
import { startGroups } from "../src/cgroups.ts";
import { startBubblewrapDriver } from "../src/index.ts";
import { launch } from "../src/launch.ts";
import { constantMounts, writeEtc } from "../src/root-file-system.ts";
import { compileSeccomp } from "../src/seccomp.ts";
import { createScript, type Place } from "./_drivers.ts";

const [stage, json = ""] = process.argv.slice(2);
const place = JSON.parse(json) as Place;
const spec = createScript("(setsid sleep 1001 &); exec sleep 1000", { id: "victim" });

if (stage === "prepared" || stage === "released") {
  const driver = await startBubblewrapDriver(place);
  const sandbox = await driver.prepare(spec);
  if (stage === "released") sandbox.release();
} else {
  mkdirSync(place.runDir, { recursive: true });
  const group = (await startGroups(place)).create(spec.id, spec.limits, []);
  const launched = await launch({
    ...{ bwrap: "/usr/bin/bwrap", seccomp: compileSeccomp(), uid: null, command: spec.command, stdin: null },
    arguments: sandboxArguments(spec, {
      mounts: constantMounts(writeEtc(place.runDir)),
      features: { disableUserns: true, tmpfsSize: true },
      disk: null,
    }),
  });
  await group.join(launched.pid);
  if (stage === "orphaned") {
    process.kill(launched.pid, "SIGSTOP");
    void launched.build();
  }
  process.stdout.write(`${launched.pid}\n`);
}
process.stdout.write("reached\n");
setInterval(() => {}, 1_000);
