// A supervised system with two instances of jobs and a witness, whose host must be as it was when it is over.
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, it } from "vitest";
import { type Aether, type AetherOptions, startAether } from "../_aether.ts";
import { leftovers, openWitness, type Witness } from "../_checker.ts";
import { type Fault, runRound } from "./_round.ts";

/** Longer than the warden's deadline, shorter than the default: the tests wait it out. */
const workerGoneMs = "12000";

/** Describes a system that lives through these faults, one after the other. */
export function describeFaults(title: string, faults: Fault[], options: AetherOptions = {}): void {
  const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
  describe.skipIf(missing)(`${title}${missing ? `: ${missing}` : ""}`, () => {
    let aether: Aether;
    let witness: Witness;
    beforeAll(async () => {
      const jobs = { AETHER_JOBS_WORKER_GONE_MS: workerGoneMs };
      const { environment, ...more } = options;
      aether = await startAether({
        ...{ supervised: true, secondJobs: true, environment: { jobs, jobs2: jobs, ...environment } },
        ...more,
      });
      witness = await openWitness(aether);
    }, 60_000);
    afterAll(async () => {
      await witness[Symbol.asyncDispose]();
      await aether[Symbol.asyncDispose]();
    }, 60_000);
    for (const fault of faults) it(fault.name, () => runRound(aether, witness, fault), 120_000);
    it("nothing is left on the host when the worker has ended", async () => {
      await Promise.all([aether.programs.worker.end(), aether.programs.worker2.end()]);
      await waitFor("nothing to be left", () => {
        const left = leftovers(aether);
        if (left.length > 0) throw new Error(left.join(", "));
        return true;
      });
    }, 30_000);
  });
}
