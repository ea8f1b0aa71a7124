// Capability tokens: made, verified, revoked. A token is a JWT of one algorithm, signed by this installation's key and bound to
// a user or an agent; it counts while it and every token that it was made with is known here and not revoked. What it says is
// signed; that it still counts is in KV `grants`, where its record goes with it.
import { createPublicKey } from "node:crypto";
import {
  Capability,
  type createToken,
  limits,
  type Principal,
  ProblemError,
  principalName,
  type Request,
  requireDurationMs,
  Token,
  TokenBinding,
  TokenId,
} from "@aether/contracts";
import { errors, jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import type { Remembered } from "./remembered.ts";
import { openSigningKey } from "./signing-key.ts";

const algorithm = "EdDSA";
const form = { typ: "aether-cap+jwt", audience: "aether", issuer: "aether" };
const prefix = "token.";

const Claims = z.object({
  jti: TokenId,
  exp: z.int(),
  cnf: TokenBinding,
  cap: z.array(Capability).min(1),
  chain: z.array(TokenId),
});

/** What a verified token says. */
export interface Bearer {
  id: string;
  capabilities: readonly Capability[];
  chain: readonly string[];
  expiresAtMs: number;
}

export interface Tokens {
  /** Makes a token; `parent` is the one that its maker came with, and allows as much. Throws ProblemError. */
  mint(wanted: Request<typeof createToken>, maker: Maker): Promise<Token & { token: string }>;
  /** What the token says, where it counts for this principal, null where there is none; throws `token-refused` otherwise. */
  verify(token: string | undefined, principal: Principal): Promise<Bearer | null>;
  get(id: string): Token | null;
  /** Those that have not expired, newest first; of everybody where there is no owner. */
  list(owner: string | null): Token[];
  /** Revokes it, and so everything that was made with it. */
  revoke(token: Token): Promise<Token>;
}

interface Maker {
  /** The token's id to be. */
  id: string;
  principal: Principal;
  parent: Bearer | null;
}

/** Opens the tokens that count, and the key that signs them. */
export function openTokens({ ledger, stored }: Remembered, keyFile: string): Tokens {
  const privateKey = openSigningKey(keyFile);
  const publicKey = createPublicKey(privateKey);
  const records = new Map<string, Token>();
  for (const [key, { value }] of stored) {
    if (key.startsWith(prefix)) records.set(key.slice(prefix.length), Token.parse(value));
  }
  const store = (record: Token) =>
    ledger.put(prefix + record.id, record, { ttlMs: Date.parse(record.expires_at) - Date.now() + 60_000 });
  const sign = ({ id, owner, bind: cnf, capabilities: cap, chain, created_at, expires_at }: Token) =>
    new SignJWT({ cnf, cap, chain })
      .setProtectedHeader({ alg: algorithm, typ: form.typ })
      .setIssuer(form.issuer)
      .setAudience(form.audience)
      .setSubject(owner)
      .setJti(id)
      .setIssuedAt(toSeconds(created_at))
      .setExpirationTime(toSeconds(expires_at))
      .sign(privateKey);
  const living = (id: string): Token | null => {
    const record = records.get(id);
    return record && Date.parse(record.expires_at) > Date.now() ? record : null;
  };
  return {
    async mint(wanted, { id, principal, parent }) {
      for (const known of records.keys()) if (!living(known)) records.delete(known);
      const record = toRecord(wanted, { id, principal, parent });
      assertRoom(records, record.owner);
      records.set(id, record); // makers beside this one count it from here on
      try {
        const token = await sign(record);
        if (token.length > limits.tokenChars) throw invalid("capabilities", "are too many for one token");
        await store(record);
        return { ...record, token };
      } catch (error) {
        records.delete(id);
        throw error;
      }
    },
    async verify(token, principal) {
      if (token === undefined) return null;
      const { payload } = await jwtVerify(token, publicKey, { ...form, algorithms: [algorithm] }).catch(
        (error: unknown) =>
          refuse(error instanceof errors.JWTExpired ? "it has expired" : "it is not a token of this installation"),
      );
      const claims = Claims.safeParse(payload);
      if (!claims.success) throw refusal("it is not a token of this installation");
      const { jti, exp, cnf, cap, chain } = claims.data;
      if (!isBoundTo(cnf, principal)) throw refusal("it is bound to somebody else");
      const ended = [jti, ...chain].find((id) => !living(id) || living(id)?.revoked_at !== null);
      if (ended) throw refusal(ended === jti ? "it was revoked" : `${ended}, which it was made with, was revoked`);
      return { id: jti, capabilities: cap, chain, expiresAtMs: exp * 1000 };
    },
    get: living,
    list: (owner) =>
      [...records.values()]
        .filter((record) => living(record.id) && (owner === null || record.owner === owner))
        .sort((a, b) => (a.id < b.id ? 1 : -1)),
    async revoke(token) {
      if (token.revoked_at !== null) return token;
      const revoked = { ...token, revoked_at: new Date().toISOString() };
      records.set(token.id, revoked); // at once: where it cannot be stored, it has ended all the same until a restart
      await store(revoked);
      return revoked;
    },
  };
}

function toRecord(wanted: Request<typeof createToken>, { id, principal, parent }: Maker): Token {
  const nowMs = Date.now();
  // Whole seconds, as in the token; the end of the one that it is made with is not passed.
  const endMs = Math.min(nowMs + requireDurationMs(wanted.ttl), parent?.expiresAtMs ?? Number.POSITIVE_INFINITY);
  const chain = parent ? [...parent.chain, parent.id] : [];
  if (chain.length > limits.tokenChain) {
    throw invalid("capabilities", `come from a token that was handed on ${limits.tokenChain} times already`);
  }
  return {
    id,
    owner: principalName(principal),
    bind: wanted.bind ?? bindingOf(principal),
    capabilities: wanted.capabilities,
    chain,
    created_at: new Date(nowMs).toISOString(),
    expires_at: new Date(Math.floor(endMs / 1000) * 1000).toISOString(),
    revoked_at: null,
  };
}

function bindingOf({ type, id, uid }: Principal): TokenBinding {
  if (type === "Agent") return { agent: id };
  if (type === "User" && uid !== undefined) return { uid };
  throw invalid("bind", "is needed: the caller is neither a user with a number nor an agent");
}

function isBoundTo(bind: TokenBinding, { type, id, uid }: Principal): boolean {
  return "agent" in bind ? type === "Agent" && id === bind.agent : type === "User" && uid === bind.uid;
}

function assertRoom(records: ReadonlyMap<string, Token>, owner: string): void {
  const ends = [...records.values()].filter((record) => record.owner === owner).map((record) => record.expires_at);
  const isFull = records.size >= limits.tokensMax;
  if (ends.length < limits.tokensPerPrincipal && !isFull) return;
  const first = ends.sort()[0];
  throw new ProblemError("too-many-requests", {
    detail: isFull
      ? `${limits.tokensMax} tokens have not expired yet`
      : `${owner} has ${limits.tokensPerPrincipal} tokens that have not expired yet`,
    retry_after_ms: Math.max(1000, Date.parse(first ?? "") - Date.now() || 1000),
  });
}

const toSeconds = (time: string) => Math.floor(Date.parse(time) / 1000);

function refusal(detail: string): ProblemError {
  return new ProblemError("token-refused", { detail });
}

function refuse(detail: string): never {
  throw refusal(detail);
}

function invalid(path: string, message: string): ProblemError {
  return new ProblemError("invalid-request", { detail: `${path} ${message}`, errors: [{ path, message }] });
}
