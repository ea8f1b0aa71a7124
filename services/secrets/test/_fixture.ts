// The secrets service on a real nats-server, with a policy and a jobs service that answer as the test says.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Bus, handler, openBucket, request, seedFile, serve } from "@aether/bus";
import {
  checkAttempt,
  createId,
  type DecideRequest,
  decide,
  deleteSecret,
  describeSecret,
  healthOperation,
  listSecrets,
  type Principal,
  ProblemError,
  principalName,
  type Reply,
  type Secret,
  setSecret,
  takeSecret,
} from "@aether/contracts";
import { captureLog, startNats, type TestNats, tempDir } from "@aether/testkit";
import { SecretsConfig, startSecrets } from "../src/index.ts";
import { StoredSecret } from "../src/record.ts";

export const ada: Principal = { type: "User", id: "1000", roles: ["member"] };
export const ben: Principal = { type: "User", id: "1001", roles: ["member"] };

type Log = ReturnType<typeof captureLog>;
/** An attempt that this host holds. */
type Held = Reply<typeof checkAttempt> & { host: string; secret: string };

export interface Room extends AsyncDisposable {
  nats: TestNats;
  keyFile: string;
  log: Log;
  /** Owners use their own, where a test says nothing else. */
  policy: { allows(asked: DecideRequest): boolean; asked: DecideRequest[] };
  /** Attempts by their job. */
  held: Map<string, Held>;
  start(): Promise<AsyncDisposable>;
  set(name: string, value: string | Uint8Array, as?: Principal, label?: string[]): Promise<Secret>;
  list(as?: Principal): Promise<Secret[]>;
  delete(name: string, as?: Principal): Promise<Secret>;
  describe(id: string): Promise<Reply<typeof describeSecret>>;
  /** A job of this owner that was promised these secrets as they are, held by host-a. */
  promise(owner: Principal, ...ids: string[]): Promise<string>;
  take(jobId: string, id: string, more?: { host?: string; attempt?: number; secret?: string }): Promise<string>;
  /** Records as they lie in the store. */
  bucket: ReturnType<typeof openBucket<StoredSecret>>;
  health(): Promise<string[]>;
}

export async function openRoom(options: { storeBytes?: number } = {}): Promise<Room> {
  const stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats(options));
  const folder = stack.use(tempDir());
  const connect = async (user: string) => stack.use(await nats.connect(user));
  const [gateway, jobs] = [await connect("gateway"), await connect("jobs")];
  const workers = { "host-a": await connect("worker-host-a"), "host-b": await connect("worker-host-b") };
  const policy: Room["policy"] = {
    allows: ({ principal, resource }) => resource.owner === principalName(principal),
    asked: [],
  };
  const held: Room["held"] = new Map();
  stack.use(await servePolicy(await connect("policy"), policy));
  stack.use(await serveJobs(jobs, held));
  const log = captureLog();
  const keyFile = join(folder.path, "secrets.keys");
  const config = SecretsConfig.parse({
    AETHER_NATS_URL: nats.url,
    AETHER_SECRETS_SEED_FILE: seedFile(nats.keysDir, "secrets"),
    AETHER_SECRETS_KEY_FILE: keyFile,
  });
  const by = (principal: Principal) => ({ envelope: { principal, request_id: createId("req") } });
  const plain = () => ({ envelope: { request_id: createId("req") } });
  const describeOne: Room["describe"] = async (id) => (await request(jobs, describeSecret, { id }, plain())).reply;
  return {
    ...{ nats, keyFile, log, policy, held, describe: describeOne },
    bucket: openBucket(await connect("secrets"), "secrets", StoredSecret),
    start: () => startSecrets(config, log),
    async set(name, value, as = ada, label) {
      const input = { name, ...(label && { label }) };
      return (await request(gateway, setSecret, input, { ...by(as), bytes: Buffer.from(value) })).reply;
    },
    list: async (as = ada) => (await request(gateway, listSecrets, {}, by(as))).reply.items,
    delete: async (name, as = ada) => (await request(gateway, deleteSecret, { name }, by(as))).reply,
    async promise(owner, ...ids) {
      const id = createId("job");
      const secrets = await Promise.all(
        ids.map(async (one) => ({ id: one, value_id: (await describeOne(one)).value_id })),
      );
      const attempt = { owner: principalName(owner), principal: owner, intent_id: null, inputs: [], secrets };
      held.set(id, { ...attempt, host: "host-a", secret: randomBytes(16).toString("hex") });
      return id;
    },
    async take(jobId, id, { host = "host-a", ...more } = {}) {
      const input = { job_id: jobId, attempt: 1, secret: held.get(jobId)?.secret ?? "", id, ...more };
      const { bytes } = await request(workers[host as keyof typeof workers], takeSecret, input, plain());
      return Buffer.from(bytes).toString();
    },
    health: async () => (await request(gateway, healthOperation("secrets"), {}, by(ada))).reply.degraded,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function servePolicy(bus: Bus, policy: Room["policy"]): Promise<AsyncDisposable> {
  const decided = handler(decide, {
    async handle(asked) {
      policy.asked.push(asked);
      const outcome = policy.allows(asked) ? ("allow" as const) : ("deny" as const);
      const answer = { decision_id: null, approval_id: null, reason: "as scripted", policies: [], policy_version: "v" };
      return { ...answer, outcome, visible: true, scope: "own" as const };
    },
  });
  return serve(bus, { service: "policy", version: "0", description: "answers as the test says", handlers: [decided] });
}

function serveJobs(bus: Bus, held: Room["held"]): Promise<AsyncDisposable> {
  const check = handler(checkAttempt, {
    async handle({ job_id, attempt, secret, host }) {
      const found = held.get(job_id);
      if (!found) throw new ProblemError("not-found");
      if (found.secret !== secret || found.host !== host || attempt !== 1) throw new ProblemError("conflict");
      const { host: _host, secret: _secret, ...answer } = found;
      return answer;
    },
  });
  return serve(bus, { service: "jobs", version: "0", description: "knows attempts", handlers: [check] });
}
