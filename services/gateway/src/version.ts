import manifest from "../package.json" with { type: "json" };

/** The version that the gateway speaks of: its package's. */
export const version: string = manifest.version;
