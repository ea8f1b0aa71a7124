// Follows KV `jobs` into a view until it is killed. Started as `node _follower.ts <url> <seed file> <view file>`.
import { connectBus } from "@aether/bus";
import { silentLog } from "@aether/testkit";
import { openCountView } from "./_view.ts";

const [, , server = "", seedFile = "", file = ""] = process.argv;
await openCountView(await connectBus({ server, user: "jobs", seedFile, log: silentLog }), file);
process.stdout.write("open\n");
