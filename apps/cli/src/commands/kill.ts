import { defineCommand } from "../command.ts";
import { endJobs, waitingOptions } from "../end-jobs.ts";

export const kill = defineCommand({
  usage: "kill [OPTION…] JOB…",
  about: "Kill jobs at once; wait until nothing of them runs",
  options: waitingOptions,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "JOB" },
  run: (invocation) => endJobs(invocation, (client, id) => client.jobs.kill(id)),
});
