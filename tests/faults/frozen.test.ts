// Each service frozen for less than a lease, while jobs are queued, starting, running and stopping: nothing is lost.
import { freeze } from "./_round.ts";
import { describeFaults } from "./_system.ts";

const forMs = 4_000;

describeFaults("frozen for less than a lease", [
  freeze(["gateway"], forMs),
  freeze(["jobs"], forMs),
  freeze(["jobs", "jobs2"], forMs),
  freeze(["policy"], forMs),
  freeze(["warden"], forMs),
  freeze(["nats"], forMs),
  freeze(["worker"], forMs),
]);
