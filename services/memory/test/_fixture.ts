// The memory service on a real nats-server, as several users see it, with a policy that answers as the test says.
import { join } from "node:path";
import { type Bus, handler, request, serve } from "@aether/bus";
import {
  createId,
  type DecideReply,
  type DecideRequest,
  decide,
  type Operation,
  type Principal,
} from "@aether/contracts";
import { captureLog, startNats, type TestNats, tempDir } from "@aether/testkit";
import type { z } from "zod";
import { MemoryConfig, type MemoryOverrides, startMemory } from "../src/index.ts";

export const allow: DecideReply = {
  outcome: "allow",
  decision_id: null,
  reason: "test",
  policies: ["test"],
  policy_version: "v1",
  approval_id: null,
  visible: true,
  scope: "own",
};

const ada: Principal = {
  type: "User",
  id: "1000",
  roles: ["member"],
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
};
export const ben: Principal = { type: "User", id: "1001", roles: ["member"], uid: 1001, gid: 1001 };
export const aurora: Principal = { type: "Agent", id: "aurora", roles: ["member"] };

export interface CallAs {
  as?: Principal;
  idempotencyKey?: string;
  timeoutMs?: number;
}

export interface Fixture extends AsyncDisposable {
  nats: TestNats;
  gateway: Bus;
  folder: string;
  policy: { answer(request: DecideRequest): DecideReply; asked: DecideRequest[] };
  /** The variables of an instance with views of its own. */
  environment(views: string): Record<string, string>;
  start(views?: string, overrides?: MemoryOverrides): Promise<AsyncDisposable>;
  call<In extends z.ZodType, Out extends z.ZodType>(
    operation: Operation<In, Out>,
    input: z.input<In>,
    call?: CallAs,
  ): Promise<z.infer<Out>>;
}

export async function startFixture(): Promise<Fixture> {
  const stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats());
  const folder = stack.use(tempDir()).path;
  const gateway = stack.use(await nats.connect("gateway"));
  const policyBus = stack.use(await nats.connect("policy"));
  const policy: Fixture["policy"] = { answer: () => allow, asked: [] };
  stack.use(
    await serve(policyBus, {
      ...{ service: "policy", version: "0", description: "answers as the test says" },
      handlers: [
        handler(decide, {
          handle: async (asked) => {
            policy.asked.push(asked);
            return policy.answer(asked);
          },
        }),
      ],
    }),
  );
  const environment = (views: string) => ({
    AETHER_NATS_URL: nats.url,
    AETHER_MEMORY_SEED_FILE: join(nats.keysDir, "memory.nk"),
    AETHER_MEMORY_VIEWS_DIR: join(folder, views),
  });
  return {
    ...{ nats, gateway, folder, policy, environment },
    start: (views = "views", overrides = {}) =>
      startMemory(MemoryConfig.parse(environment(views)), captureLog(), overrides),
    async call(operation, input, { as = ada, idempotencyKey, timeoutMs } = {}) {
      const key = idempotencyKey ? { idempotency_key: idempotencyKey } : {};
      const envelope = { principal: as, request_id: createId("req"), ...key };
      return (await request(gateway, operation, input, { envelope, ...(timeoutMs && { timeoutMs }) })).reply;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
