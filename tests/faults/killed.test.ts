// Each service killed and started again by its supervisor, while jobs are queued, starting, running and stopping.
import { kill } from "./_round.ts";
import { describeFaults } from "./_system.ts";

describeFaults("killed", [
  kill(["gateway"]),
  kill(["jobs"]),
  kill(["jobs", "jobs2"]),
  kill(["policy"]),
  kill(["events"]),
  kill(["warden"]),
  kill(["nats"]),
  kill(["worker"], false),
]);
