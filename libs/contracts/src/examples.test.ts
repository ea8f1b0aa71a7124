import { describe, expect, it } from "vitest";
import { AuditExportQuery } from "./audit.ts";
import { EventFrame, EventQuery } from "./events.ts";
import { type Example, examples, problemExample } from "./examples.ts";
import { LogFrame, LogQuery } from "./logs.ts";
import { operations } from "./operations.ts";
import { AuditRecord } from "./policy.ts";
import { Problem } from "./problem.ts";
import { formatQuery, parseQuery, querySchema } from "./query.ts";
import { systemRoutes } from "./system.ts";

const routed = operations.filter((operation) => operation.http !== undefined);
const requireExample = (name: string): Example => {
  const example = examples[name];
  if (!example) throw new Error(`${name} has no example in examples.ts`);
  return example;
};

describe("the examples", () => {
  it.each(routed.map((operation) => [operation.name, operation] as const))(
    "of %s fit its contract",
    (name, operation) => {
      const { params, query, body, reply } = requireExample(name);
      const named = parseQuery(querySchema(operation), new URLSearchParams(formatQuery(query ?? {})));
      if (name === "jobs.logs") {
        LogQuery.parse(named);
        expect(LogFrame.array().parse(reply)).toEqual(reply);
        return;
      }
      if (name === "policy.export") {
        AuditExportQuery.parse(named);
        expect(AuditRecord.array().parse(reply)).toEqual(reply);
        return;
      }
      if (name === "events.read") {
        EventQuery.parse(named);
        expect(EventFrame.array().parse(reply)).toEqual(reply);
        return;
      }
      operation.http?.query?.parse(named);
      if (operation.kind === "download") {
        expect(reply).toBeTypeOf("string");
        return;
      }
      if (operation.kind !== "upload")
        operation.request.parse({ ...params, ...body, ...(operation.http?.query ? {} : named) });
      const answered = operation.http?.reply ?? operation.reply;
      expect(answered.parse(reply)).toEqual(reply);
    },
  );

  it("of the gateway's own routes fit theirs", () => {
    for (const { path, reply } of systemRoutes) {
      if (path === "/openapi.json") continue;
      const example = requireExample(path);
      expect(reply.parse(example.reply)).toEqual(example.reply);
    }
  });

  it("are of routes that exist", () => {
    const known = [...routed.map((operation) => operation.name), ...systemRoutes.map(({ path }) => path)];
    expect(Object.keys(examples).filter((name) => !known.some((other) => other === name))).toEqual([]);
  });

  it("show a problem document that is one", () => {
    expect(Problem.parse(problemExample)).toEqual(problemExample);
  });
});
