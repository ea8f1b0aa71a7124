// The worker's wall clock jumps: nobody compares wall clocks, so nothing comes of it but odd times in the log (attack 13).
import { afterAll, describe, expect, it } from "vitest";
import { readFrames } from "../_checker.ts";
import { openFaketime } from "./_faketime.ts";
import { type Fault, passes } from "./_round.ts";
import { describeFaults } from "./_system.ts";

const hour = 3600;
const faketime = openFaketime();
afterAll(() => faketime?.[Symbol.dispose]());

if (faketime) {
  const step = (seconds: number): Fault => ({
    name: `by ${seconds / hour} h`,
    runnerSeconds: 4,
    undisturbed: true,
    async happen(aether) {
      faketime.step(seconds);
      const job = await aether.client.jobs.submit(
        { command: ["sh", "-c", "echo l $AETHER_ATTEMPT 1 0"] },
        { wait: "10s" },
      );
      const [frame] = await readFrames(aether, job.id);
      const aheadMs = frame && "ts" in frame ? Date.parse(frame.ts) - Date.now() : Number.NaN;
      expect(Math.abs(aheadMs - seconds * 1000), "the worker's own clock").toBeLessThan(60_000);
      await passes(2_500);
    },
  });
  describeFaults("the worker's clock stepped", [step(hour), step(-hour), step(0)], {
    environment: { worker: faketime.environment },
  });
} else {
  describe("the worker's clock stepped", () => {
    it.skip("libfaketime is missing: apt-get install faketime", () => {});
  });
}
