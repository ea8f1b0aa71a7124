// The vocabulary that contracts and policy share: every action there is, and every type of resource an action is about.

export const actions = [
  "submit_job",
  "start_job",
  "read_job",
  "list_jobs",
  "read_logs",
  "stop_job",
  "kill_job",
  "put_artifact",
  "read_artifact",
  "list_artifacts",
  "delete_artifact",
  "check_policy",
  "read_policy",
  "read_audit",
  "verify_audit",
  "list_approvals",
  "read_approval",
  "answer_approval",
  "revoke_approval",
  "set_human_secret",
  "memory_write",
  "memory_read",
  "memory_list",
  "memory_search",
  "memory_delete",
  "emit_event",
  "read_events",
  "read_metrics",
  "add_agent",
  "read_agent",
  "list_agents",
  "remove_agent",
  "run_agent",
  "create_token",
  "read_token",
  "list_tokens",
  "revoke_token",
] as const;
export type Action = (typeof actions)[number];

export const resourceTypes = [
  ...["Job", "Jobs", "Artifact", "Artifacts", "Memory", "MemoryEntry", "Events", "Metrics", "Policy", "Audit"],
  ...["AgentRecord", "Agents"],
  ...["Approval", "Approvals", "Grant", "Token", "Tokens"],
] as const;
export type ResourceType = (typeof resourceTypes)[number];

/** Actions that must still find room when the audit store is full: they only end things. */
export const reservedActions: readonly Action[] = ["stop_job", "kill_job", "revoke_approval"];
