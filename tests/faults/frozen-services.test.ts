// What holds no lease frozen for longer than one: running jobs go on, and whatever it wakes up to find is not its to judge.
import { freeze } from "./_round.ts";
import { describeFaults } from "./_system.ts";

const forMs = 13_500;

describeFaults("frozen for longer than a lease, beside the leases", [
  freeze(["jobs"], forMs),
  freeze(["gateway", "policy"], forMs),
  freeze(["warden"], forMs),
]);
