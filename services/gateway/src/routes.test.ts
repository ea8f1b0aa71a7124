import { getJob, operations, ProblemError, submitJob } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { matchRoute } from "./routes.ts";

describe("matchRoute", () => {
  it("reaches every operation with a route", () => {
    for (const operation of operations) {
      if (!operation.http) continue;
      const path = `/v0${operation.http.path.replaceAll(/\{\w+\}/g, "x")}`;
      expect(matchRoute(operation.http.method, path)).toMatchObject({ route: { operation: { name: operation.name } } });
    }
  });

  it("decodes the names in a path after it was split", () => {
    expect(matchRoute("GET", "/v0/jobs/a%2Fb%20c")).toEqual({
      ...{ route: { operation: getJob }, template: "/v0/jobs/{id}" },
      params: { id: "a/b c" },
    });
    expect(matchRoute("POST", "/v0/jobs")).toMatchObject({ route: { operation: submitJob }, params: {} });
  });

  it("names the right methods for a wrong one", () => {
    expect(matchRoute("DELETE", "/v0/jobs")).toEqual({ allow: ["POST", "GET"], template: "/v0/jobs" });
    expect(matchRoute("POST", "/v0/health")).toEqual({ allow: ["GET"], template: "/v0/health" });
  });

  it.each([
    "/",
    "/v0",
    "/v0/",
    "/v1/jobs",
    "/v0//jobs",
    "/v0/jobs/",
    "/v0/jobs/x/y",
    "/v0/../v0/jobs",
    "http://aether/v0/jobs",
    "*",
  ])("knows no %s", (path) => expect(() => matchRoute("GET", path)).toThrow(ProblemError));

  it("refuses broken percent-encoding", () => {
    expect(() => matchRoute("GET", "/v0/jobs/%zz")).toThrow("percent-encoding");
  });
});
