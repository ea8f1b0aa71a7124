// curl as people use it: the real program, started without a shell, and its answers taken apart. And the commands and answers
// that docs/api/README.md shows, so that tests run what the documents say.
import { type ChildProcess, execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Answer {
  status: number;
  headers: Headers;
  /** What follows the body, by lower-case name. */
  trailers: Record<string, string>;
  body: string;
}

export interface Caller {
  uid: number;
  gid: number;
}

export interface Running {
  process: ChildProcess;
  /** What it has printed so far, the head of the answer included. */
  output(): string;
  answer: Promise<Answer>;
}

export type Curl = ReturnType<typeof createCurl>;

/** curl for one socket; `start` for an answer that takes its time, `as` for the curl of another user. */
export function createCurl(socket: string, as?: Caller) {
  const start = (...args: string[]): Running => {
    let output = "";
    const process = execFile("curl", ["-q", "-sS", "-i", "--unix-socket", socket, ...args], {
      maxBuffer: 64 * 1024 * 1024,
      ...as,
    });
    process.stdout?.on("data", (chunk: string) => {
      output += chunk;
    });
    return { process, output: () => output, answer: answerOf(process, () => output) };
  };
  const run = (...args: string[]): Promise<Answer> => start(...args).answer;
  const post = (path: string, body: unknown, ...args: string[]): Promise<Answer> =>
    run(...args, "-H", "Content-Type: application/json", "-d", JSON.stringify(body), urlOf(path));
  const get = (path: string, ...args: string[]): Promise<Answer> => run(...args, urlOf(path));
  return { start, run, post, get, as: (caller: Caller) => createCurl(socket, caller) };
}

export function urlOf(path: string): string {
  return `http://aether${path}`;
}

async function answerOf(process: ChildProcess, output: () => string): Promise<Answer> {
  let errors = "";
  process.stderr?.on("data", (chunk: string) => {
    errors += chunk;
  });
  const [code] = await once(process, "close");
  if (code !== 0) throw new Error(`curl ended with ${code}: ${errors.trim()}`);
  return parseAnswer(output());
}

/** Head, empty line, body; with chunks, the trailers that the head announced stand behind the body. */
function parseAnswer(text: string): Answer {
  const headEnd = text.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = text.slice(0, headEnd).split("\r\n");
  const headers = new Headers(lines.map((line) => splitHeader(line)));
  let body = text.slice(headEnd + 4);
  const trailers: Record<string, string> = {};
  for (const name of headers.get("trailer")?.toLowerCase().split(/, */) ?? []) {
    const found = new RegExp(`${name}: (.*)\r\n(?:\r\n)?$`, "i").exec(body);
    if (!found) continue;
    trailers[name] = found[1] ?? "";
    body = body.slice(0, found.index);
  }
  return { status: Number(statusLine.split(" ")[1]), headers, trailers, body };
}

function splitHeader(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

export interface Documented {
  /** curl's arguments, without the socket. */
  args: string[];
  /** The answer shown, text where it is bytes; null where none is. */
  reply: unknown;
}

/** What docs/api/README.md shows, by route such as `POST /v0/jobs`. */
export function readDocumented(): Map<string, Documented> {
  const text = readFileSync(join(import.meta.dirname, "..", "docs", "api", "README.md"), "utf8");
  const sections = text.split(/^## /m).slice(1);
  return new Map(
    sections.map((section) => {
      const route = section.slice(0, section.indexOf("\n"));
      const [program, ...args] = splitCommand(fenced(section, "sh") ?? "");
      if (program !== "curl") throw new Error(`${route} has no curl command in docs/api/README.md`);
      const socket = args.indexOf("--unix-socket");
      const reply = fenced(section, "json");
      const shown = reply === null ? fenced(section, "text") : parseReply(reply);
      return [route, { args: args.toSpliced(socket, 2), reply: shown }];
    }),
  );
}

/** The first problem document that docs/api/README.md shows. */
export function readDocumentedProblem(): unknown {
  const text = readFileSync(join(import.meta.dirname, "..", "docs", "api", "README.md"), "utf8");
  return JSON.parse(fenced(text, "json") ?? "");
}

function fenced(text: string, language: string): string | null {
  return new RegExp(`^\`\`\`${language}\n(.*?)\n\`\`\`$`, "ms").exec(text)?.[1] ?? null;
}

/** One JSON document, or one a line. */
function parseReply(text: string): unknown {
  return /^\{.*\}\n\{/.test(text) ? text.split("\n").map((line) => JSON.parse(line)) : JSON.parse(text);
}

/** The words of a command as a shell would read them: quotes, escaped quotes and continued lines are all there is. */
function splitCommand(command: string): string[] {
  const joined = command.replaceAll("\\\n", " ");
  return [...joined.matchAll(/(?:'[^']*'|\\'|[^\s'\\])+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|\\'/g, (_, quoted?: string) => quoted ?? "'"),
  );
}

/**
 * What a value looks like: its keys, the types of what they hold, and for texts with a form of their own that form. Two answers
 * of one route have the same shape, whatever they say; of a list, the shapes that occur in it.
 */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Set(value.map((one) => JSON.stringify(shapeOf(one))))].sort();
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value).sort();
    return Object.fromEntries(keys.map((key) => [key, shapeOf(Reflect.get(value, key))]));
  }
  if (typeof value === "string") return forms.find(([, form]) => form.test(value))?.[0] ?? "text";
  return value === null ? "null" : typeof value;
}

const forms: [string, RegExp][] = [
  ["time", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/],
  ["job id", /^job_[0-9a-z]{26}$/],
  ["artifact id", /^art_[0-9a-z]{26}$/],
  ["placed file", /^\/.+\/\d+\/art_[0-9a-z]{26}$/],
  ["entry id", /^mem_[0-9a-z]{26}$/],
  ["approval id", /^apr_[0-9a-z]{26}$/],
  ["grant id", /^grt_[0-9a-z]{26}$/],
  ["token id", /^tok_[0-9a-z]{26}$/],
  ["audit id", /^aud_[0-9a-z]{26}$/],
  ["request id", /^(urn:aether:request:)?req_[0-9a-z]{26}$/],
  ["digest", /^sha256:[0-9a-f]{64}$/],
  ["hash", /^[0-9a-f]{64}$/],
  ["uuid", /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/],
  ["principal", /^(user|agent|worker|service):[^\s:]+$/],
  ["digits", /^\d+$/],
];
