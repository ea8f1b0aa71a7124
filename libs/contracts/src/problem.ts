// The one error format on both transports: RFC 9457 problem details, and the catalogue of every problem there is.
// A new type exists only where a caller would act differently. docs/errors.md lists the same table; a test compares them.
import { z } from "zod";

interface CatalogueEntry {
  status: number;
  title: string;
  /** What the caller can do about it. */
  mend: string;
}

export const problems = {
  "invalid-request": {
    status: 400,
    title: "The request is not valid",
    mend: "Correct the fields that `errors` names.",
  },
  "origin-refused": {
    status: 403,
    title: "Requests from a browser page are refused",
    mend: "Call from a program, not from a page.",
  },
  "token-refused": {
    status: 401,
    title: "The capability token does not count",
    mend: "`detail` says why; ask for a new one, or call without one.",
  },
  "policy-denied": {
    status: 403,
    title: "Policy denies this",
    mend: "Read `decision`: it names the policy and its reason; where `approval_id` is, a person may say yes, then repeat it.",
  },
  "not-found": {
    status: 404,
    title: "There is no such thing here",
    mend: "Check the id; what you may not see is not found either.",
  },
  "method-not-allowed": {
    status: 405,
    title: "The route does not know this method",
    mend: "Use a method that `Allow` names.",
  },
  conflict: { status: 409, title: "The state forbids it", mend: "Read the resource again and decide anew." },
  "idempotency-conflict": {
    status: 409,
    title: "The key was used with another body",
    mend: "Use a new Idempotency-Key for a new request.",
  },
  "too-large": { status: 413, title: "The body is over the maximum", mend: "Send less; `detail` names the limit." },
  "range-not-satisfiable": {
    status: 416,
    title: "The range lies outside of the bytes",
    mend: "Ask for a range within `Content-Range`'s size.",
  },
  "digest-mismatch": {
    status: 422,
    title: "The bytes are not those that were announced",
    mend: "Send them again; nothing was stored.",
  },
  "file-refused": {
    status: 422,
    title: "The file cannot be had",
    mend: "`detail` says why; it is read and written with your own rights.",
  },
  "unsupported-media-type": {
    status: 415,
    title: "The body is not JSON",
    mend: "Send `Content-Type: application/json`.",
  },
  "headers-too-large": {
    status: 431,
    title: "The headers are over the maximum",
    mend: "Send fewer or shorter headers.",
  },
  "too-many-requests": { status: 429, title: "A limit is reached", mend: "Wait for `Retry-After` seconds." },
  "internal-error": {
    status: 500,
    title: "Something here is broken",
    mend: "Report it with the request id; a retry will not help.",
  },
  unavailable: {
    status: 503,
    title: "A part that is needed does not answer",
    mend: "Try again after `Retry-After` seconds.",
  },
  "audit-unavailable": {
    status: 503,
    title: "It could not be recorded, so it was not done",
    mend: "Free or archive the audit store, then try again.",
  },
  "storage-full": {
    status: 503,
    title: "The store is below its floor of free space",
    mend: "Free disk space, then try again.",
  },
  "artifacts-full": {
    status: 507,
    title: "The store of artifacts is full",
    mend: "Delete artifacts that are not needed any more.",
  },
  "outcome-unknown": {
    status: 504,
    title: "No answer in time; it may have happened",
    mend: "Read the state, or repeat it with the same Idempotency-Key.",
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ProblemSlug = keyof typeof problems;

export const Decision = z.object({
  id: z.string().nullable().describe("Id of the audit record of the decision, null for a dry run"),
  outcome: z.enum(["allow", "ask", "deny"]).describe("`ask`: denied as long as nobody has said yes"),
  reason: z.string().describe("Why, in a sentence"),
  policies: z.array(z.string()).describe("Ids of the deciding policies"),
});
export type Decision = z.infer<typeof Decision>;

export const Problem = z.object({
  type: z.string().describe("`urn:aether:problem:<slug>`"),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  instance: z.string().optional().describe("Request id as `urn:aether:request:<id>`"),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  decision: Decision.optional(),
  approval_id: z.string().optional().describe("What was asked: the same request is allowed after a person's yes"),
  retry_after_ms: z.int().optional(),
});
export type Problem = z.infer<typeof Problem>;

/** A problem as an exception: what handlers throw and clients catch. `detail` is safe to show to the caller. */
export class ProblemError extends Error {
  readonly slug: ProblemSlug;
  readonly problem: Problem;

  constructor(slug: ProblemSlug, extra: Partial<Problem> = {}, options?: ErrorOptions) {
    super(extra.detail ?? problems[slug].title, options);
    this.name = "ProblemError";
    this.slug = slug;
    this.problem = {
      type: `urn:aether:problem:${slug}`,
      title: problems[slug].title,
      status: problems[slug].status,
      ...extra,
    };
  }

  /** The exception for a problem document that came over a transport. */
  static from(problem: Problem, options?: ErrorOptions): ProblemError {
    const slug = problem.type.replace("urn:aether:problem:", "");
    return new ProblemError(slug in problems ? (slug as ProblemSlug) : "internal-error", problem, options);
  }
}

/** The problem for input that a schema refused, every fault with its path. */
export function invalidRequest(error: z.ZodError, prefix: readonly string[] = []): ProblemError {
  const errors = error.issues
    .flatMap((found) => {
      const path = [...prefix, ...found.path].join(".");
      if (found.code !== "unrecognized_keys") return [{ path, message: found.message }];
      return found.keys.map((key) => ({ path: path ? `${path}.${key}` : key, message: "unknown field" }));
    })
    .slice(0, 50);
  return new ProblemError("invalid-request", {
    detail: errors
      .map((e) => `${e.path || "body"}: ${e.message}`)
      .join("; ")
      .slice(0, 500),
    errors,
  });
}
