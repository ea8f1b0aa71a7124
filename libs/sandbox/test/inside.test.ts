// What a job sees from inside, and what it cannot do there.

import { openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { text } from "node:stream/consumers";
import { waitFor } from "@aether/testkit";
import koffi from "koffi";
import { expect, it } from "vitest";
import { createScript, createSpec, describeDrivers, runJob, uniqueName } from "./_drivers.ts";

describeDrivers("seen from inside", (driver) => {
  const run = async (script: string) => (await runJob(driver(), createScript(script))).stdout.trim();

  it("has a root of its own with nothing of the host's folders", async () => {
    const root = (await run("ls -A /")).split("\n");
    const always = ["bin", "dev", "etc", "inputs", "lib", "outputs", "proc", "sbin", "tmp", "usr", "workspace"];
    expect(root.filter((name) => !/^lib(32|64|x32)$/.test(name))).toEqual(always);
    expect(await run("cat /etc/passwd /etc/group | grep -c root")).toBe("0");
    expect(await run("ls -A /etc")).not.toMatch(/shadow|ssh|machine-id|environment|resolv/);
    expect(await run("ls -A /inputs /outputs /workspace /tmp | grep -v : | tr -d '\\n'")).toBe("");
    expect(await run("id -un; awk 'BEGIN { print 6 * 7 }'")).toBe("job\n42");
  });

  it("has no network", async () => {
    const server = createServer((socket) => socket.end("host")).listen(0, "0.0.0.0");
    await waitFor("the host's server", () => server.listening);
    const address = server.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const connect = `exec 3<>/dev/tcp/127.0.0.1/${port} && cat <&3`;
    const { stdout, exit } = await runJob(driver(), createSpec({ command: ["/bin/bash", "-c", connect] }));
    expect(stdout).toBe("");
    expect(exit.exitCode).not.toBe(0);
    expect(await run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")).toBe("lo");
    expect(await run("wc -l < /proc/net/route")).toBe("1");
    server.close();
  });

  it("sees only its own processes", async () => {
    const pids = (await run("ls /proc | grep '^[0-9]*$'")).split("\n").map(Number);
    expect(pids.length).toBeLessThan(6);
    expect(Math.max(...pids)).toBeLessThan(20);
    expect(await run("cat /proc/[0-9]*/comm | sort -u | tr '\\n' ' '")).not.toContain("node");
  });

  it("can write to /workspace, /outputs and /tmp and nowhere else", async () => {
    const find = "find / '(' -path /proc -o -path '/usr/*/*' ')' -prune -o -type d -writable -print 2>/dev/null | sort";
    expect(await run(find)).toBe("/outputs\n/tmp\n/workspace");
    expect(
      await run("find / '(' -path /proc -o -path /dev -o -path '/usr/*/*' ')' -prune -o -type f -writable -print"),
    ).toBe("");
    expect(await run("for d in / /dev /etc /inputs /usr /proc; do touch $d/x 2>/dev/null && echo $d; done")).toBe("");
    expect(await run("echo x > /proc/sys/kernel/hostname; echo x > /proc/sysrq-trigger")).toBe("");
    expect(await run("echo a > /workspace/a; echo b > /outputs/b; echo c > /dev/shm/c; cat /tmp/c")).toBe("c");
  });

  it("has no capability and can gain none", async () => {
    const status = await run("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'");
    const none = "0000000000000000";
    const capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((name) => `${name}:${none}`);
    expect(status.split("\n")).toEqual([...capabilities, "NoNewPrivs:1", "Seccomp:2"]);
    expect(await run("grep -v nosuid /proc/self/mounts")).toBe("");
  });

  it("cannot mount or make namespaces", async () => {
    const attempts = ["mount -t tmpfs none /tmp", "unshare -U true", "unshare -m true", "unshare -r true"];
    for (const attempt of [...attempts, "unshare -n true", "chroot / true", "nsenter -t 1 -m true"]) {
      const { exit, stderr } = await runJob(driver(), createScript(attempt, { env: { PATH: "/usr/sbin:/usr/bin" } }));
      expect([attempt, exit.exitCode === 0]).toEqual([attempt, false]);
      expect(stderr).toMatch(/denied|not permitted|must be superuser/i);
    }
  });

  it.runIf(process.arch === "x64")("is refused the kernel's rare calls", async () => {
    const calls = { bpf: 321, perf_event_open: 298, keyctl: 250, ptrace: 101, io_uring_setup: 425, fsopen: 430 };
    const script = Object.values(calls)
      .map((number) => `syscall(${number}, 0, 0, 0, 0, 0); print $!+0, " ";`)
      .join("");
    const { stdout } = await runJob(driver(), createSpec({ command: ["/usr/bin/perl", "-e", script] }));
    expect(stdout.trim()).toBe(Object.keys(calls).fill("1").join(" "));
    const sockets = "for (16, 17, 40, 1) { print socket(my $s, $_, 2, 0) ? 0 : $!+0, ' ' }";
    expect((await runJob(driver(), createSpec({ command: ["/usr/bin/perl", "-e", sockets] }))).stdout).toBe(
      "97 97 97 0 ",
    );
  });

  it("inherits no descriptor", async () => {
    const fd = openSync("/etc/hostname", "r");
    // Node marks its files to close on exec; this one is made to stay open, like one that a parent left.
    expect(koffi.load("libc.so.6").func("int fcntl(int, int, int)")(fd, 2, 0)).toBe(0);
    const duplicate: number = koffi.load("libc.so.6").func("int dup2(int, int)")(fd, 200);
    expect(duplicate).toBe(200);
    // The fourth is the listing itself.
    expect(await run("ls /proc/self/fd | tr '\\n' ' '")).toBe("0 1 2 3");
    expect(await run("ls /proc/1/fd | wc -l")).toMatch(/^[0-5]$/);
  });

  it("has exactly the environment it was given, and its working directory", async () => {
    process.env.AETHER_TEST_SECRET = "do-not-leak";
    const env = { PATH: "/usr/bin", GREETING: "good morning", EMPTY: "", "odd-name": "a=b\nc" };
    const { stdout } = await runJob(driver(), createSpec({ command: ["env", "-0"], env, workingDir: "/tmp/deep/er" }));
    const seen = Object.fromEntries(stdout.split("\0").filter(Boolean).map(splitVariable));
    expect(seen).toEqual({ ...env, PWD: "/tmp/deep/er" });
    expect(await run("cat /proc/*/environ | tr '\\0' '\\n'")).not.toContain("do-not-leak");
    expect(await run("pwd -P")).toBe("/workspace");
  });

  it("runs code from the environment in the job and in nothing before it", async () => {
    const preload = await runJob(
      driver(),
      createSpec({ command: ["/bin/true"], env: { LD_PRELOAD: "/workspace/missing.so" } }),
    );
    // One complaint of the loader, for the one program that got the variable.
    expect(preload.stderr.match(/missing\.so/g)).toHaveLength(1);
    const perl = await runJob(
      driver(),
      createSpec({ command: ["/usr/bin/perl", "-e", "print 1"], env: { PERL5OPT: "-Mnot_there" } }),
    );
    expect(perl.stderr.match(/Can't locate/g)).toHaveLength(1);
    const script = await runJob(
      driver(),
      createScript("env", { env: { NODE_OPTIONS: "--require=/nope", PATH: "/bin" } }),
    );
    expect(script.stdout).toContain("NODE_OPTIONS=--require=/nope");
    expect(script.exit.exitCode).toBe(0);
  });

  it("shows neither environment nor launcher to other users of the host, and belongs to nobody on it", async () => {
    const marker = uniqueName("argument");
    await using sandbox = await driver().prepare(
      createScript(`echo ready > file; echo ready; exec sleep 1000 # ${marker}`, {
        env: { TOKEN: "only-for-the-job", PATH: "/bin" },
      }),
    );
    sandbox.release();
    await waitFor("the job's first line", () => sandbox.stdout.read() !== null);
    const processes = listProcesses();
    expect(processes.some(({ commandLine }) => commandLine.includes("only-for-the-job"))).toBe(false);
    const job = await waitFor("the job's process", () =>
      listProcesses().find((one) => one.commandLine === "sleep 1000 "),
    );
    expect(job.uid).toBeGreaterThan(1_000_000_000);
    expect(statSync(`/proc/${job.pid}/root/workspace/file`).uid).toBe(job.uid);
    expect(readFileSync("/etc/passwd", "utf8")).not.toContain(`:${job.uid}:`);
  });

  it("finds its secrets as files in memory, which it alone can read and cannot change", async () => {
    const secrets = [
      { path: "/secrets/text", bytes: Buffer.from("correct horse") },
      { path: "/secrets/large", bytes: Buffer.alloc(64 * 1024, 0xff) },
      { path: "/secrets/-f $(x)", bytes: Buffer.from([0, 10, 255]) },
    ];
    const script = [
      "cat /secrets/text; echo; wc -c /secrets/*",
      "stat -c %a:%u:%g /secrets /secrets/*; stat -f -c %T /secrets/text",
      "for how in 'chmod 644' 'rm -f' 'touch'; do $how /secrets/text 2>/dev/null && echo $how; done",
      "touch /secrets/more 2>/dev/null && echo more; find / -xdev -newer /etc -path '/secrets/*' -writable 2>/dev/null",
      "ls /proc/self/fd | tr '\\n' ' '; cat /proc/*/environ | grep -c horse",
    ].join("\n");
    await using sandbox = await driver().prepare(createScript(script, { secrets }));
    for (const { bytes } of secrets) bytes.fill(0); // not needed any more
    sandbox.release();
    expect((await text(sandbox.stdout)).split("\n").map((line) => line.trim())).toEqual([
      "correct horse",
      "3 /secrets/-f $(x)",
      "65536 /secrets/large",
      "13 /secrets/text",
      "65552 total",
      "500:1000:1000",
      ...secrets.map(() => "400:1000:1000"),
      "tmpfs",
      "0 1 2 3 0",
      "",
    ]);
    expect(await run("ls -d /secrets 2>/dev/null || echo none")).toBe("none");
  });

  it("can write to its own stdout and stderr by name", async () => {
    const { stdout, stderr } = await runJob(driver(), createScript("echo out > /dev/stdout; echo err > /dev/stderr"));
    expect([stdout, stderr]).toEqual(["out\n", "err\n"]);
  });
});

function splitVariable(line: string): [string, string] {
  const at = line.indexOf("=");
  return [line.slice(0, at), line.slice(at + 1)];
}

function listProcesses(): { pid: number; uid: number; commandLine: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .flatMap((pid) => {
      try {
        const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return [{ pid, commandLine, uid: statSync(`/proc/${pid}`).uid }];
      } catch {
        return [];
      }
    });
}
