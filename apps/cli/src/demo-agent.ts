// The demo's step about an agent: a program in a sandbox whose only way out is the agent's socket. It asks for more than agents
// have; policy asks a person, who is shown what would run and says yes once; it runs, and the program gets its answer.
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type { Client } from "@aether/client";
import { type Approval, type AuditRecord, Job, type JobSpecInput } from "@aether/contracts";
import { printApproval } from "./approval-text.ts";
import { heading, held, type Stage, typedCommand } from "./demo-stage.ts";
import { Failure } from "./failure.ts";
import { retryWhileAway, waitForEnd } from "./patience.ts";
import { visible } from "./text.ts";

const name = "scout";
const tooLong = "2h";
const asksWithinMs = 20_000;
const secret = "what only the person knows";
const sizes = { cpus: 0.5, memory: "64MiB", disk: "16MiB" };

/** Programs that a sandbox may see, and how each sends what it reads to the agent's socket. */
const speakers: Readonly<Record<string, readonly string[]>> = {
  curl: ["sh", "-c", `curl -sS --unix-socket "$AETHER_SOCKET" -H 'Content-Type: application/json' -d @- "$0"`],
  python3: [
    "python3",
    "-c",
    `import http.client, os, socket, sys
http = http.client.HTTPConnection("aether")
http.sock = socket.socket(socket.AF_UNIX)
http.sock.connect(os.environ["AETHER_SOCKET"])
http.request("POST", sys.argv[1].removeprefix("http://aether"), sys.stdin.read(), {"Content-Type": "application/json"})
print(http.getresponse().read().decode())`,
  ],
  node: [
    "node",
    "-e",
    `const { request } = require("node:http");
const options = { socketPath: process.env.AETHER_SOCKET, method: "POST", headers: { "Content-Type": "application/json" } };
process.stdin.pipe(request(process.argv[1], options, (answer) => answer.pipe(process.stdout)));`,
  ],
};

/** What the audit log must tell of it; nothing where this machine has no program that could be the agent's. */
export type AgentFindings = Readonly<Record<string, (record: AuditRecord) => boolean>>;

/** Shows the agent's question, the person's answer, and the run. */
export async function showAgent(stage: Stage, client: Client): Promise<AgentFindings> {
  const { out, progress, found } = stage;
  heading(out, "An agent asks");
  const speaker = Object.entries(speakers).find(([program]) => isInSandbox(program));
  if (!speaker) {
    held(out, `left out: a sandbox of this machine has none of ${Object.keys(speakers).join(", ")}`);
    return {};
  }
  typedCommand(out, `aether agents add ${name}`);
  await client.agents.add({ name, limits: { ...sizes, pids: 32, timeout: "1m" } });
  const asked: JobSpecInput = { command: ["echo", "done as asked"], resources: sizes, timeout: tooLong };
  typedCommand(out, `aether agent run ${name} -- ${speaker[0]} … # asks for a job of up to ${tooLong}`);
  progress.say("the agent asks");
  // On a machine where everything has one uid, only this tells a person's yes from a program's.
  await client.approvals.setSecret({ secret });
  const program = await runAgent(client, speaker[1], asked);
  const approval = await nextApproval(client);
  progress.clear();
  printApproval(out, approval);
  typedCommand(out, `aether approvals answer ${approval.id} once`);
  const answered = await client.approvals.answer(approval, "allow_once", { secret });
  held(out, `${answered.state} by ${visible(answered.answered_by ?? "nobody")}, once: nothing is remembered`);
  progress.say("it runs");
  const job = await readAnswer(client, program);
  progress.clear();
  if (job.state !== "succeeded" || job.approval_id !== approval.id)
    throw new Failure(`the agent's job ended ${job.state}: ${job.message ?? job.reason ?? "without the approval"}`);
  held(out, `${job.id} of ${job.owner} ran, and the agent's program got the answer`);
  Object.assign(found, { approval: answered, agent_job: job });
  return {
    "the agent's question": ({ decision, job_id }) => decision?.outcome === "ask" && job_id === job.id,
    "the person's answer": ({ kind, resource }) => kind === "approval" && resource?.id === approval.id,
    "the start after it": ({ decision, job_id }) =>
      job_id === job.id && decision?.outcome === "allow" && decision.approval === approval.id,
  };
}

function isInSandbox(program: string): boolean {
  return ["/usr/local/bin", "/usr/bin"].some((folder) => existsSync(`${folder}/${program}`));
}

function runAgent(client: Client, program: readonly string[], asked: JobSpecInput): Promise<Job> {
  const command = [...program, "http://aether/v0/jobs?wait=50s"];
  return client.jobs.submit({ command, stdin: JSON.stringify(asked), attach: { agent: name } });
}

async function nextApproval(client: Client): Promise<Approval> {
  const giveUpAt = performance.now() + asksWithinMs;
  for (;;) {
    const [approval] = (await retryWhileAway(() => client.approvals.list({ state: ["pending"] }))).items;
    if (approval) return approval;
    if (performance.now() > giveUpAt) throw new Failure("the agent's question did not come");
    await setTimeout(50);
  }
}

/** What the program was answered over its socket, which it has printed. */
async function readAnswer(client: Client, { id }: Job): Promise<Job> {
  const ended = await waitForEnd(client, id);
  let text = "";
  for await (const frame of client.jobs.logs(id)) if ("stream" in frame) text += `${frame.data}\n`;
  if (ended.state !== "succeeded") throw new Failure(`the agent's program ended ${ended.state}\n${text}`);
  return Job.parse(JSON.parse(text));
}
