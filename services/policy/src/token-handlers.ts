// The operations on capability tokens. What is made with a token is at most as wide as that one; who tries more is denied, which is
// recorded as any other denial is.
import { type Call, handler, type ServeOptions } from "@aether/bus";
import {
  createToken,
  getToken,
  listTokens,
  ProblemError,
  principalName,
  requireDurationMs,
  revokeToken,
  type Token,
} from "@aether/contracts";
import { beyond } from "./capabilities.ts";
import type { Decider } from "./decider.ts";
import type { Tokens } from "./tokens.ts";

export function tokenHandlers(tokens: Tokens, decider: Pick<Decider, "refuse">): ServeOptions["handlers"] {
  const load = async ({ id }: { id: string }) => {
    const token = tokens.get(id);
    return token && { resource: { id, owner: token.owner, labels: {} }, value: token };
  };
  return [
    handler(createToken, {
      context: ({ ttl }) => ({ ttl_ms: requireDurationMs(ttl) }),
      async handle(wanted, call) {
        const parent = await tokens.verify(call.token, call.principal);
        const wide = parent && beyond(wanted.capabilities, parent.capabilities);
        if (wide) await refuse(decider, call, `the token of this call does not allow so much of ${wide}`);
        return tokens.mint(wanted, { id: call.createdId ?? "", principal: call.principal, parent });
      },
    }),
    handler(listTokens, {
      async handle({ limit, cursor }, { principal, decision }) {
        const all = tokens.list(decision?.scope === "all" ? null : principalName(principal));
        const rest = cursor === undefined ? all : all.filter(({ id }) => id < cursor);
        const items = rest.slice(0, limit);
        return { items, next_cursor: rest.length > limit ? (items.at(-1)?.id ?? null) : null };
      },
    }),
    handler<typeof getToken, Token>(getToken, { load, handle: async (_, { loaded }) => loaded }),
    handler<typeof revokeToken, Token>(revokeToken, { load, handle: (_, { loaded }) => tokens.revoke(loaded) }),
  ];
}

/** Denies what policies have allowed, and throws. */
async function refuse(decider: Pick<Decider, "refuse">, call: Call, reason: string): Promise<never> {
  const { principal, caller, requestId: request_id, intentId: intent_id, createdId } = call;
  const resource = { type: "Token", id: createdId ?? "*", owner: principalName(principal), labels: {} } as const;
  const about = { request_id, intent_id, job_id: null, digest: null };
  const asked = { principal, action: "create_token", resource, context: {}, record: "before", ...about } as const;
  await decider.refuse(asked, caller, reason);
  throw new ProblemError("policy-denied", { detail: reason });
}
