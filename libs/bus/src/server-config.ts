// The configuration of nats-server, generated from the topology: accounts, one nkey user per service and host, permissions,
// imports, limits. Written as nats-server's own format is JSON's superset: this is JSON.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import { publicKeyOf } from "./nkey.ts";
import { deliveries, imports, type UserSpec, users } from "./topology.ts";

const MIB = 1024 * 1024;

export interface ServerConfigOptions {
  /** Folder of the nkey seeds, one file per user, 0600. Missing ones are made. */
  keysDir: string;
  storeDir: string;
  /** 0 lets the system choose; the server then writes it into portsDir. */
  port: number;
  /** Of the monitoring endpoint, on loopback as well; the system chooses where it is absent. */
  monitorPort?: number;
  portsDir: string;
  hosts: readonly string[];
  /** Bytes that JetStream may use on disk, reserved. */
  storeBytes: number;
  pidFile: string;
}

/** The file with the seed of a user. */
export function seedFile(keysDir: string, user: string): string {
  return join(keysDir, `${user}.nk`);
}

/** The configuration as text for nats-server's `-c`. */
export function serverConfig(options: ServerConfigOptions): string {
  mkdirSync(options.keysDir, { recursive: true, mode: 0o700 });
  const all = users(options.hosts).map((user) => ({ user, key: publicKey(options.keysDir, user.name) }));
  const of = (account: string) =>
    all.filter(({ user }) => user.account === account).map(({ user, key }) => toUser(user, key));
  const config = {
    server_name: "aether",
    host: "127.0.0.1",
    port: options.port === 0 ? -1 : options.port,
    http: `127.0.0.1:${options.monitorPort ?? -1}`,
    ports_file_dir: options.portsDir,
    pid_file: options.pidFile,
    max_payload: MIB,
    max_connections: 4096,
    // A process that stands still leaves its queue groups after 4 to 6 s: from then on requests go to who answers them.
    ping_interval: "2s",
    ping_max: 2,
    write_deadline: "10s",
    lame_duck_duration: "30s",
    lame_duck_grace_period: "5s",
    jetstream: {
      store_dir: options.storeDir,
      max_memory_store: 64 * MIB,
      max_file_store: Math.ceil(options.storeBytes * 1.02),
      sync_interval: "always",
    },
    accounts: {
      SYS: { users: of("SYS") },
      EDGE: { users: of("EDGE"), imports: toImports("EDGE", options.hosts) },
      WORK: { users: of("WORK"), imports: toImports("WORK", options.hosts) },
      CORE: {
        jetstream: "enabled",
        users: of("CORE"),
        exports: [...toExports("EDGE", options.hosts), ...toExports("WORK", options.hosts)],
      },
      AUDIT: { jetstream: "enabled", users: of("AUDIT") },
    },
    system_account: "SYS",
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

function toUser(user: UserSpec, key: string) {
  return {
    nkey: key,
    permissions: {
      publish: { allow: user.publish },
      subscribe: { allow: user.subscribe, ...(user.hidden && { deny: user.hidden }) },
      ...(user.responds ? { allow_responses: { max: 1, expires: "2m" } } : {}),
    },
  };
}

const toImports = (account: "EDGE" | "WORK", hosts: readonly string[]) => [
  ...imports(account).map((subject) => ({ service: { account: "CORE", subject } })),
  ...deliveries(account, hosts).map((subject) => ({ stream: { account: "CORE", subject } })),
];
const toExports = (account: "EDGE" | "WORK", hosts: readonly string[]) => [
  ...imports(account).map((subject) => ({ service: subject, accounts: [account] })),
  ...deliveries(account, hosts).map((subject) => ({ stream: subject, accounts: [account] })),
];

function publicKey(keysDir: string, user: string): string {
  const file = seedFile(keysDir, user);
  if (!existsSync(file)) {
    writeFileSync(file, nkeys.createUser().getSeed(), { mode: 0o600, flag: "wx" });
  }
  chmodSync(file, 0o600);
  return publicKeyOf(readFileSync(file, "utf8"));
}
