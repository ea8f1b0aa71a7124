// A set of policies held against everything that is asked of one before it may answer: Cedar's parser and strict validator, and
// our own rules. Every fault is told with its file, its line and what mends it, all of them at once.
import { basename } from "node:path";
import { limits, type PolicyEntry, parseDurationMs, resourceTypes } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import { isShipped, type PolicyFiles } from "./policy-files.ts";

/** What a policy says of itself, and where it stands. */
export interface PolicyNotes extends PolicyEntry {
  /** How long a question may wait that it asks. */
  timeoutMs: number | null;
}

export interface PolicySet {
  /** Texts by id. */
  policies: Readonly<Record<string, string>>;
  /** As Cedar reads them, by id. */
  parsed: ReadonlyMap<string, cedar.PolicyJson>;
  /** By id, in the order of the files. */
  notes: ReadonlyMap<string, PolicyNotes>;
  /** What the validator thinks is a mistake, and lets pass. */
  warnings: string[];
}

/** A policy as it stands in its file. */
interface Placed {
  path: string;
  text: string;
  /** Lines of the file before it. */
  linesBefore: number;
}

const singleResource = new RegExp(`"type":"Aether::(${resourceTypes.join("|")})"`);

/** The set of these files; throws an error whose message has a line for every fault. */
export function checkPolicies(files: PolicyFiles): PolicySet {
  const faults: string[] = [];
  const placed = new Map<string, Placed>();
  const notes = new Map<string, PolicyNotes>();
  const parsed = new Map<string, cedar.PolicyJson>();
  for (const policy of files.texts.flatMap(([path, text]) => split(path, text, faults))) {
    const json = parse(policy, faults);
    const described = json && describe(policy, json, faults);
    if (!described) continue;
    const known = notes.get(described.id);
    if (known) {
      faults.push(`${at(policy)}: there are two policies with @id("${described.id}"): the other is in ${known.file}`);
      continue;
    }
    placed.set(described.id, policy);
    notes.set(described.id, described);
    parsed.set(described.id, json);
  }
  const policies = Object.fromEntries([...placed].map(([id, { text }]) => [id, text]));
  const answer = cedar.validate({
    validationSettings: { mode: "strict" },
    schema: files.schema,
    policies: { staticPolicies: policies },
  });
  if (answer.type === "failure") faults.push(...answer.errors.map(({ message }) => message));
  else faults.push(...tell(answer.validationErrors, placed));
  if (faults.length > 0) throw new Error(faults.join("\n"));
  return {
    policies,
    parsed,
    notes,
    warnings: answer.type === "success" ? tell(answer.validationWarnings, placed) : [],
  };
}

function split(path: string, text: string, faults: string[]): Placed[] {
  const whole = { path, text, linesBefore: 0 };
  const parts = cedar.policySetTextToParts(text);
  if (parts.type === "failure") {
    faults.push(...parts.errors.map((error) => `${at(whole, error)}: ${say(error)}`));
    return [];
  }
  if (parts.policy_templates.length > 0) faults.push(`${path}: templates are not used; write the policy out`);
  let from = 0;
  return parts.policies.map((policy) => {
    const found = text.indexOf(policy, from);
    if (found >= 0) from = found + policy.length;
    return { path, text: policy, linesBefore: countLines(text.slice(0, Math.max(0, found))) };
  });
}

function parse(policy: Placed, faults: string[]): cedar.PolicyJson | null {
  const answer = cedar.policyToJson(policy.text);
  if (answer.type === "success") return answer.json;
  faults.push(...answer.errors.map((error) => `${at(policy)}: ${say(error)}`));
  return null;
}

function describe(policy: Placed, json: cedar.PolicyJson, faults: string[]): PolicyNotes | null {
  const fault = (what: string) => void faults.push(`${at(policy)}: ${what}`);
  const { id, reason, ask = null, timeout = null } = json.annotations ?? {};
  if (!id || !/^[a-z0-9][a-z0-9_.-]{0,63}$/.test(id)) {
    fault('every policy needs an @id("lower-case-name")');
    return null;
  }
  if (!reason) fault(`policy ${id} needs a @reason("…")`);
  if (singleResource.test(JSON.stringify(json))) {
    fault(`policy ${id} names a single resource; policies speak of owner, labels and context`);
  }
  const timeoutMs = timeout === null ? null : parseDurationMs(timeout);
  if (timeout !== null && (timeoutMs === null || timeoutMs < 1000 || timeoutMs > limits.approvalTimeoutMs)) {
    fault(`policy ${id} has a @timeout that is no duration between 1s and 1d`);
  }
  return {
    ...{ id, effect: json.effect, reason: reason ?? "", ask, timeoutMs },
    ...{
      origin: isShipped(policy.path) ? "shipped" : "own",
      file: basename(policy.path),
      line: policy.linesBefore + 1,
    },
  };
}

/** One line for each place: the validator repeats a fault for every type of resource. */
function tell(errors: readonly cedar.ValidationError[], placed: ReadonlyMap<string, Placed>): string[] {
  const told = new Map<string, string>();
  for (const { policyId, error } of errors) {
    const policy = placed.get(policyId);
    const place = policy ? `${at(policy, error)}: ` : "";
    const key = `${place}${policyId} ${error.sourceLocations?.[0]?.start} ${error.help}`;
    if (!told.has(key)) told.set(key, `${place}policy ${policyId}: ${say(error)}`);
  }
  return [...told.values()];
}

/** `file:line`, of a fault in the policy where there is one. */
function at({ path, text, linesBefore }: Placed, error?: cedar.DetailedError): string {
  const startByte = error?.sourceLocations?.[0]?.start ?? 0;
  return `${path}:${linesBefore + countLines(Buffer.from(text).subarray(0, startByte).toString()) + 1}`;
}

function say({ message, help, sourceLocations }: cedar.DetailedError): string {
  const mend = help ?? sourceLocations?.[0]?.label;
  return `${message.replace(/^for policy `[^`]*`, /, "")}${mend ? `; ${mend}` : ""}`;
}

function countLines(text: string): number {
  return text.split("\n").length - 1;
}
