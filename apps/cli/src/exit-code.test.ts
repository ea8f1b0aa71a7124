import { expect, it } from "vitest";
import { exitCodeOfJob } from "./exit-code.ts";

it.each([
  [{ state: "succeeded", exit_code: 0, signal: null }, 0],
  [{ state: "failed", exit_code: 3, signal: null }, 3],
  [{ state: "failed", exit_code: null, signal: "SIGKILL" }, 137],
  [{ state: "failed", exit_code: null, signal: "SIGSEGV" }, 139],
  [{ state: "stopped", exit_code: null, signal: "SIGTERM" }, 143],
  [{ state: "stopped", exit_code: null, signal: null }, 125],
  [{ state: "timed_out", exit_code: null, signal: "SIGTERM" }, 124],
  [{ state: "timed_out", exit_code: 0, signal: null }, 124],
  [{ state: "lost", exit_code: null, signal: null }, 125],
  [{ state: "denied", exit_code: null }, 125],
])("%j ends with %d", (end, code) => {
  expect(exitCodeOfJob(end)).toBe(code);
});
