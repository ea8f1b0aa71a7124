import { defineConfig } from "vitest/config";

// One run over the whole workspace. Tests start real servers and sandboxes: two files at a time is what two cores carry,
// and each file has a process of its own so that a leaked handle or a native library cannot reach the next one.
export default defineConfig({
  test: {
    include: [
      "{libs,services,apps}/*/src/**/*.test.ts",
      "{libs,services,apps}/*/test/**/*.test.ts",
      "{tests,bench,tools}/**/*.test.ts",
    ],
    exclude: ["**/node_modules/**"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: ["default", "./tools/summary-reporter.ts"],
  },
});
