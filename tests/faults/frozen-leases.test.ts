// What leases depend on frozen for longer than one: the warden has ended every tree before its jobs are given to anybody.
import { waitFor } from "@aether/testkit";
import { expect } from "vitest";
import { type Fault, freeze } from "./_round.ts";
import { describeFaults } from "./_system.ts";

const forMs = 13_500;
const wardenMs = 11_000;

describeFaults("frozen for longer than a lease", [
  ended(freeze(["jobs", "jobs2"], forMs, false)),
  ended(freeze(["nats"], forMs, false)),
  ended(replaced(freeze(["worker"], forMs, false))),
]);

/** The same, with another host that takes over what the frozen one had before that wakes up. */
function replaced(fault: Fault): Fault {
  return {
    ...fault,
    async happen(aether, witness) {
      const over = fault.happen(aether, witness);
      const before = new Set(witness.executing());
      aether.programs.warden2.start();
      aether.programs.worker2.start();
      const state = { over: false };
      void over.finally(() => {
        state.over = true;
      });
      const taken = () => witness.executing().find((one) => one.endsWith("-2") && before.has(one.replace(/2$/, "1")));
      await waitFor("a second attempt on the other host", taken, forMs);
      expect(state.over, "before the first host woke up").toBe(false);
      await over;
    },
  };
}

/** The same, and what executed when it began does not any more soon after the warden's deadline. */
function ended(fault: Fault): Fault {
  return {
    ...fault,
    async happen(aether, witness) {
      const over = fault.happen(aether, witness);
      const before = witness.executing();
      expect(before.length).toBeGreaterThan(0);
      await waitFor(
        "the warden to have ended what executed",
        () => !witness.executing().some((attempt) => before.includes(attempt)),
        wardenMs,
      );
      await over;
    },
  };
}
