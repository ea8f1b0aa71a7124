// A stand-in for a worker: one incarnation that runs a job nobody can end politely, renews its deadline as often as it is
// told, and waits. Started as `node _stand-in.ts <options>`.
import { groupPath, startBubblewrapDriver } from "@aether/sandbox";
import { bootNowMs, writeDeadline } from "../src/warden.ts";

export interface StandInOptions {
  instance: string;
  incarnation: string;
  stateDir: string;
  runDir: string;
  deadlineMs: number;
  renewMs: number;
}

const options = JSON.parse(process.argv[2] ?? "") as StandInOptions;
const group = groupPath(options);
const renew = () => writeDeadline(options.runDir, options.incarnation, bootNowMs() + options.deadlineMs, group);

renew();
const driver = await startBubblewrapDriver({ ...options, warmDisks: 1 });
const sandbox = await driver.prepare({
  ...{ id: "stubborn", env: { PATH: "/usr/bin" }, workingDir: "/workspace", stdin: null },
  command: ["/bin/sh", "-c", "trap '' TERM INT HUP; (setsid sleep 1000 &); sleep 1000; :"],
  limits: { cpus: 1, memoryBytes: 2 ** 26, pids: 16, diskBytes: 2 ** 30, readBps: null, writeBps: null },
});
sandbox.release();
setInterval(renew, options.renewMs);
process.stdout.write("running\n");
