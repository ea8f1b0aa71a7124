import { describe, expect, it } from "vitest";
import { listJobs } from "./jobs.ts";
import { LogQuery } from "./logs.ts";
import { ProblemError } from "./problem.ts";
import { formatQuery, parseQuery } from "./query.ts";

const parse = (query: string) => parseQuery(listJobs.request, new URLSearchParams(query));

describe("parseQuery", () => {
  it("makes lists and numbers where the schema has them and leaves the rest as text", () => {
    expect(parse("state=queued&state=running&label=a%3D1&limit=5&pool=7")).toEqual({
      state: ["queued", "running"],
      label: ["a=1"],
      limit: 5,
      pool: "7",
    });
    expect(parseQuery(LogQuery, new URLSearchParams("follow=1&after=3"))).toEqual({ follow: "1", after: 3 });
  });

  it("leaves what is no number for the schema to refuse", () => {
    expect(parse("limit=5x&min_revision=")).toEqual({ limit: "5x", min_revision: "" });
    expect(parse("limit=1e3")).toEqual({ limit: "1e3" });
  });

  it.each(["colour=red", "limit=1&limit=2", "constructor=x", "__proto__=x"])("refuses %s", (query) => {
    expect(() => parse(query)).toThrow(ProblemError);
  });
});

describe("formatQuery", () => {
  it("writes what parseQuery reads", () => {
    expect(formatQuery({ state: ["queued", "running"], limit: 5, pool: undefined })).toBe(
      "?state=queued&state=running&limit=5",
    );
    expect(formatQuery({})).toBe("");
  });
});
