import { defineCommand, type Options } from "../command.ts";
import { endJobs, waitingOptions } from "../end-jobs.ts";
import { toGrace } from "../job-spec.ts";

const options = {
  time: {
    type: "text",
    short: "t",
    also: ["grace"],
    value: "TIME",
    about: "Between SIGTERM and SIGKILL; a bare number is seconds",
  },
  ...waitingOptions,
} as const satisfies Options;

export const stop = defineCommand({
  usage: "stop [OPTION…] JOB…",
  about: "Stop jobs: SIGTERM, then SIGKILL for what is left; wait until nothing of them runs",
  options,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "JOB" },
  run(invocation) {
    const grace = toGrace(invocation.values.time);
    return endJobs(invocation, (client, id) => client.jobs.stop(id, grace === undefined ? {} : { grace }));
  },
});
